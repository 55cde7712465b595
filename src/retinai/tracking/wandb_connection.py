"""The connection to Weights & Biases: online when a key is configured, otherwise offline; an outage stops nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import ConfigError
from retinai.files import write_text
from retinai.log import logger, note

if TYPE_CHECKING:
    import wandb

DEFAULTS: dict[str, Any] = {
    "name": "wandb",
    "project": "retinai",
    "entity": None,
    "group": None,
    "tags": (),
    "timeout": 20,
    "photographs": False,
    "thumbnails": 64,
    "checkpoints": False,
}
# Kept out of `wandb/`, which people delete to free space.
RUN_ID = ".wandb_run_id"
# The value of WANDB_DATA_DIR that this module set; another one is the user's choice and stays.
_own_data_dir: str | None = None
_LONGEST_GROUP = 128  # characters that W&B takes


@dataclass(frozen=True)
class Job:
    """What of W&B's settings depends on who logs.

    Attributes:
        kind: The job type: the name of the command.
        id: The run's id.
        group: Its group.
        name: What it is called.
        config: Its configuration, plain.
    """

    kind: str
    id: str
    group: str
    name: str
    config: Mapping[str, Any]


class Guard:
    """Does things with W&B; the first failure is told in one line and ends the logging, never the command.

    Args:
        goes_on: What of the command is untouched, for that line.
    """

    def __init__(self, goes_on: str) -> None:
        self.goes_on = goes_on
        self.failed = False

    def __call__(self, action: Callable[[], Any]) -> None:
        """Do something.

        Args:
            action: What to do.
        """
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # whatever W&B raises, the command matters more
            self.failed = True
            logger.warning(f"wandb: logging stopped ({first_line(error)}); {self.goes_on}")


def log(run: wandb.Run, made: Callable[[], dict[str, Any]]) -> None:
    """Make something and log it, so that a `Guard` sees both.

    Args:
        run: The run.
        made: Gives it.
    """
    run.log(made())


def checked(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `logger` section with all its keys.

    Raises:
        ConfigError: If it has an unknown key, name or value.
    """
    options = {**DEFAULTS, **node}
    problems = [f"logger does not know {key!r} (valid: {', '.join(DEFAULTS)})" for key in set(options) - set(DEFAULTS)]
    if options["name"] not in ("wandb", "none"):
        problems.append(f"logger.name={options['name']} is unknown (valid: wandb, none)")
    for key in ("photographs", "checkpoints"):
        if not isinstance(options[key], bool):
            problems.append(f"logger.{key}={options[key]} must be true or false")
    if problems:
        raise ConfigError(sorted(problems))
    return options


def wanted_mode() -> str:
    """Return `online`, `offline` or `disabled`, from WANDB_MODE or from whether a key is configured."""
    chosen = os.environ.get("WANDB_MODE", "").strip().lower()
    known = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled", "shared": "online"}
    if chosen in known:
        return known[chosen]
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        return "disabled"
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb
    from requests.utils import get_netrc_auth

    # `wandb login` writes netrc for the host in use; keys written before the service moved stand under the old name.
    hosts = (wandb.Settings().base_url, "https://api.wandb.ai")
    return any(get_netrc_auth(host) is not None for host in hosts)


def begin(mode: str, options: Mapping[str, Any], folder: Path, job: Job) -> wandb.Run:
    """Begin a run, or go on with the one that has the job's id; where the server is not reached, offline.

    Args:
        mode: Of `wanted_mode`.
        options: The `logger` section, with all its keys.
        folder: Where `wandb/` goes.
        job: Who logs.
    """
    import wandb

    if mode == "online":
        try:
            run = _init("online", options, folder, job)
        except Exception as error:  # no route, wrong key, server down, timeout: all mean offline
            wandb.teardown()
            run = _init("offline", options, folder, job)
            logger.warning(f"wandb: offline, the server was not reached ({first_line(error)}); {_how_to_sync(folder)}")
        else:
            note(f"wandb: {run.url}")
        return run
    run = _init("offline", options, folder, job)
    note(f"wandb: offline (no key is configured or WANDB_MODE says so); {_how_to_sync(folder)}")
    return run


def _init(mode: str, options: Mapping[str, Any], folder: Path, job: Job) -> wandb.Run:
    import wandb

    timeout = float(options["timeout"])
    settings = wandb.Settings(
        silent=True,
        quiet=True,
        console="off",
        init_timeout=timeout,
        login_timeout=timeout,
        finish_timeout=60,  # an outage at the end of a run holds it up for a minute at most
        x_graphql_retry_max=2,  # the default retries for days
        x_graphql_timeout_seconds=timeout,
        x_disable_meta=True,  # machine, user and paths are not W&B's business; run.json has the versions
        disable_git=True,
        disable_code=True,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _keep_below(folder)
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        project=options["project"],
        entity=options["entity"],
        group=job.group[:_LONGEST_GROUP],
        job_type=job.kind,
        tags=list(options["tags"]) or None,
        name=job.name,
        id=job.id,
        resume="allow" if mode == "online" else None,
        dir=str(folder),
        config=dict(job.config),
        settings=settings,
        reinit="finish_previous",
    )


def _keep_below(folder: Path) -> None:
    """Let W&B stage pictures and artifacts in the run folder, where `wandb sync` finds them, not in the home."""
    global _own_data_dir
    if os.environ.get("WANDB_DATA_DIR") in (None, _own_data_dir):
        _own_data_dir = os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").resolve())


def name_of(folder: Path) -> str:
    """Return what W&B calls the run of a run folder."""
    return "/".join(folder.resolve().parts[-4:])


def group_of(options: Mapping[str, Any], sweep: object, folder: Path) -> str:
    """Return the group of a training run and of what measures it: `logger.group`, the sweep, or the run itself.

    Args:
        options: The `logger` section of the run.
        sweep: Name of its sweep, if it is of one.
        folder: The run folder.
    """
    return str(options.get("group") or sweep or name_of(folder))


def run_id(folder: Path) -> str:
    """Return the W&B id of a run folder; made at the first call, the same ever after.

    Args:
        folder: The run folder.
    """
    path = folder / RUN_ID
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    made = secrets.token_hex(4)
    write_text(path, made + "\n")
    return made


def _how_to_sync(folder: Path) -> str:
    # Without WANDB_RESUME the file of a resumed run would replace what was uploaded of its earlier part.
    return f"upload later with: WANDB_RESUME=allow wandb sync {folder / 'wandb'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
