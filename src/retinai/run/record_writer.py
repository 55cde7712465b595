"""Writing `run.json` while a run goes on.

It tells what a run was and how it ended: status (running, finished, failed, interrupted), versions, git revision,
data fingerprint, seed, timings, and the metrics of the test.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from retinai import __version__
from retinai.config.hydra_launch import launched_with
from retinai.files import write_json
from retinai.log import is_first_process
from retinai.run.run_records import RECORD, read_record

_PACKAGES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "numpy")


@contextmanager
def recording(folder: Path, **facts: Any) -> Iterator[dict[str, Any]]:
    """Keep `run.json` while a run goes on: `running`, then `finished`, `failed` or `interrupted`.

    Args:
        folder: The run folder.
        **facts: What to tell of the run from its start (data, model, backbone, seed, ...).

    Yields:
        A mapping; what is put into it is written at the end, by the first process of the run.
    """
    if not is_first_process():
        yield {}
        return
    previous = read_record(folder) if (folder / RECORD).exists() else {}
    record = {
        "status": "running",
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "versions": package_versions(),
        "git_revision": git_revision(),
        **dict(zip(("words", "choices"), launched_with(), strict=True)),
        **facts,
    }
    record |= {key: previous[key] for key in ("words", "choices") if key in previous}
    record["resumed"] = int(previous.get("resumed", -1)) + 1 if previous else 0
    earlier = float(previous.get("seconds") or 0)
    write_json(folder / RECORD, record)
    begin = time.monotonic()
    late: dict[str, Any] = {}

    def close(status: str, **more: Any) -> None:
        seconds = round(earlier + time.monotonic() - begin, 1)
        ended = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(folder / RECORD, {**record, "status": status, "ended": ended, "seconds": seconds, **late, **more})

    try:
        yield late
    except (KeyboardInterrupt, SystemExit):
        # Lightning turns Ctrl-C and a scheduler's signal into an exit.
        close("interrupted")
        raise
    except BaseException as error:
        close("failed", reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    close("finished")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_revision() -> str | None:
    """Return the revision of the checkout that retinai runs from (`+` when changed), None outside one."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
