"""Where configuration and experiments lie, in a checkout and in an installed wheel."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """Return the folder of the Hydra groups: the one inside the wheel, else the checkout's `conf/`."""
    packaged = _PACKAGE / "conf"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "conf"


def read_conf(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file of `conf/`; a command asks for some many times, and each is parsed once."""
    return copy.deepcopy(_parsed(path, path.stat().st_mtime_ns))


@functools.cache
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    import yaml

    # libyaml, where PyYAML was built with it, takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}  # a safe loader, whichever it is


def study_dirs() -> list[Path]:
    """Return the folders of the studies that hold compositions (`<study>/experiment/*.yaml`).

    Looked for in the environment variable RETINAI_EXPERIMENTS, in `experiments/` of the current
    folder and in that of the checkout, each study once.
    """
    roots = [Path(os.environ["RETINAI_EXPERIMENTS"])] if "RETINAI_EXPERIMENTS" in os.environ else []
    roots += [Path("experiments"), _PACKAGE.parents[1] / "experiments"]
    studies: dict[Path, None] = {}
    for root in roots:
        if root.is_dir():
            studies |= {study.resolve(): None for study in sorted(root.iterdir()) if (study / "experiment").is_dir()}
    return list(studies)


def group_options(command: str) -> dict[str, list[str]]:
    """Return the groups that a command's configuration chooses from, with their options.

    Args:
        command: Name of a command, `conf/<command>.yaml`.
    """
    options: dict[str, list[str]] = {}
    for folder in sorted(p for p in conf_dir().iterdir() if p.is_dir() and p.name != "hydra"):
        # What several options share stands in a file whose name begins with an underscore; it is none itself.
        options[folder.name] = sorted(p.stem for p in folder.glob("[!_]*.yaml"))
    found = sorted(p.stem for study in study_dirs() for p in (study / "experiment").glob("*.yaml"))
    if found:
        options["experiment"] = found
    wanted = groups_of(command)
    return {g: o for g, o in options.items() if g in wanted or (command == "train" and g in ("init", "experiment"))}


def groups_of(command: str) -> dict[str, str]:
    """Return group -> default option of a command, read from its defaults list.

    Groups that other choices decide (`phase_defaults`) are left out: nobody chooses them by hand.
    """
    content = read_conf(conf_dir() / f"{command}.yaml")
    groups: dict[str, str] = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            for key, value in entry.items():
                name = key.split()[-1].lstrip("/")
                if not name.startswith("hydra/") and "${" not in str(value):
                    groups[name] = "" if value is None else str(value)
    return groups
