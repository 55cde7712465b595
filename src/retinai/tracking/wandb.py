"""Weights & Biases: online when a key is configured, otherwise offline; an outage never stops a run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from retinai.errors import ConfigError
from retinai.files import write_text
from retinai.log import logger, note

if TYPE_CHECKING:
    import wandb

    from retinai.prediction.predictions import Predictions

_DEFAULTS: dict[str, Any] = {
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
_RUN_ID = ".wandb_run_id"
# The value of WANDB_DATA_DIR that this module set; another one is the user's choice and stays.
_own_data_dir: str | None = None


class SteadyWandbLogger(WandbLogger):
    """Lightning's W&B logger that stops logging, with one line, when W&B fails; the run goes on.

    Args:
        run: The W&B run, begun.
        options: The `logger` section.
        folder: The run folder.
    """

    def __init__(self, run: wandb.Run, options: Mapping[str, Any], folder: Path) -> None:
        super().__init__(experiment=run, project=options["project"], save_dir=str(folder), id=run.id)
        self.options = dict(options)
        self.failed = False
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    def guarded(self, action: Callable[[], Any]) -> None:
        """Do something with W&B; its first failure is told in one line and ends the logging to W&B.

        Args:
            action: What to do.
        """
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # whatever W&B raises, the training matters more
            self.failed = True
            logger.warning(
                f"wandb: logging stopped ({_first_line(error)}); the run goes on, metrics.csv has every number"
            )

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the whole configuration is logged when the run begins."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at an optimiser step."""
        self.guarded(lambda: super(SteadyWandbLogger, self).log_metrics(metrics, step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Do nothing at the end of training: the test is logged to the same run, which then ends."""


def make_logger(node: Mapping[str, Any], run_folder: str | Path, config: Mapping[str, Any]) -> SteadyWandbLogger | None:
    """Begin the W&B run of a training run, or go on with it.

    The mode is that of WANDB_MODE if set; else online if a key is configured (WANDB_API_KEY, `wandb login`),
    else offline. A server that does not answer in time means offline, too. One line says what was chosen.

    Args:
        node: The `logger` section; `name` is `wandb` or `none`.
        run_folder: The run folder; the files of W&B go to `wandb/` below it.
        config: The whole configuration, plain.

    Returns:
        The logger, or None for `none`, for WANDB_MODE=disabled, and on all processes but the first.

    Raises:
        ConfigError: If the section has an unknown key, name or value.
    """
    options = _checked(node)
    mode = wanted_mode()
    if options["name"] == "none" or mode == "disabled" or _rank() != 0:
        return None
    folder = Path(run_folder)
    try:
        run = _begin(mode, options, folder, config)
    except Exception as error:  # W&B must never stop a run
        logger.warning(f"wandb: not used ({_first_line(error)}); metrics.csv has every number")
        return None
    return SteadyWandbLogger(run, options, folder)


def _checked(node: Mapping[str, Any]) -> dict[str, Any]:
    options = {**_DEFAULTS, **node}
    problems = [
        f"logger does not know {key!r} (valid: {', '.join(_DEFAULTS)})" for key in set(options) - set(_DEFAULTS)
    ]
    if options["name"] not in ("wandb", "none"):
        problems.append(f"logger.name={options['name']} is unknown (valid: wandb, none)")
    for key in ("photographs", "checkpoints"):
        if not isinstance(options[key], bool):
            problems.append(f"logger.{key}={options[key]} must be true or false")
    if problems:
        raise ConfigError(sorted(problems))
    return options


def sharing_notes(node: Mapping[str, Any]) -> list[str]:
    """Return one sentence for the run's notes: what of patients W&B gets. None where W&B is not used.

    Args:
        node: The `logger` section.

    Raises:
        ConfigError: If the section has an unknown key or a wrong value.
    """
    if node.get("name") != "wandb" or wanted_mode() == "disabled":
        return []
    options = _checked(node)
    given = {
        "photographs": f"thumbnails, ids and patients of up to {options['thumbnails']} test photographs",
        "checkpoints": "the best checkpoint",
    }
    sent = [what for key, what in given.items() if options[key]]
    kept = [what for key, what in given.items() if not options[key]]
    asked = " ".join(f"logger.{key}=true" for key in given if not options[key])
    said = f"W&B gets settings and metrics{''.join(f', {what}' for what in sent)}"
    return [said + (f"; not {' nor '.join(kept)} ({asked})" if kept else "")]


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


def _begin(mode: str, options: Mapping[str, Any], folder: Path, config: Mapping[str, Any]) -> wandb.Run:
    import wandb

    if mode == "online":
        try:
            run = _init("online", options, folder, config)
        except Exception as error:  # no route, wrong key, server down, timeout: all mean offline
            wandb.teardown()
            run = _init("offline", options, folder, config)
            logger.warning(f"wandb: offline, the server was not reached ({_first_line(error)}); {_how_to_sync(folder)}")
        else:
            note(f"wandb: {run.url}")
        return run
    run = _init("offline", options, folder, config)
    note(f"wandb: offline (no key is configured or WANDB_MODE says so); {_how_to_sync(folder)}")
    return run


def _init(mode: str, options: Mapping[str, Any], folder: Path, config: Mapping[str, Any]) -> wandb.Run:
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
        group=options["group"] or config.get("sweep"),
        tags=list(options["tags"]) or None,
        name="/".join(folder.resolve().parts[-4:]),
        id=run_id(folder),
        resume="allow" if mode == "online" else None,
        dir=str(folder),
        config=dict(config),
        settings=settings,
        reinit="finish_previous",
    )


def _keep_below(folder: Path) -> None:
    """Let W&B stage pictures and artifacts in the run folder, where `wandb sync` finds them, not in the home."""
    global _own_data_dir
    if os.environ.get("WANDB_DATA_DIR") in (None, _own_data_dir):
        _own_data_dir = os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").resolve())


def run_id(folder: Path) -> str:
    """Return the W&B id of a run folder; made at the first call, the same ever after.

    Args:
        folder: The run folder.
    """
    path = folder / _RUN_ID
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    made = secrets.token_hex(4)
    write_text(path, made + "\n")
    return made


def _how_to_sync(folder: Path) -> str:
    return f"upload later with: wandb sync {folder / 'wandb'}/offline-run-*"


def log_evaluation(
    logger: SteadyWandbLogger | None, predictions: Predictions, metrics: Mapping[str, Any], folder: str | Path
) -> None:
    """Log the test of a run to W&B and end the W&B run.

    Metrics with intervals go to the summary; confusion matrix and per-class table. Only when asked for: a table of
    predictions with thumbnails (`logger.photographs`, the least certain of the truth first), and the best checkpoint
    as an artifact (`logger.checkpoints`).

    Args:
        logger: What `make_logger` returned; None does nothing.
        predictions: Predictions on the test split.
        metrics: Content of `metrics.json`.
        folder: The run folder.
    """
    if logger is None:
        return
    from retinai.tracking import wandb_tables as tables

    run = logger.experiment
    logger.guarded(lambda: run.summary.update(tables.summary(metrics)))
    logger.guarded(lambda: run.log(tables.confusion_matrix(predictions)))
    logger.guarded(lambda: run.log({"test/per_class": tables.per_class(metrics)}))
    options = logger.options
    if options["photographs"]:
        logger.guarded(lambda: run.log({"test/predictions": tables.predictions(predictions, options["thumbnails"])}))
    best = Path(folder) / "checkpoints" / "best.ckpt"
    if options["checkpoints"] and best.exists():
        logger.guarded(lambda: run.log_artifact(tables.checkpoint(best, run.id)))
    logger.guarded(run.finish)


def _rank() -> int:
    return int(getattr(rank_zero_only, "rank", None) or 0)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
