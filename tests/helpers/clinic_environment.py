"""Environments that hold what `pip install retinai[EXTRA]` asks for, and nothing else."""

from __future__ import annotations

import importlib.metadata
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]


def make_environment(place: Path, extras: set[str]) -> Path:
    """Make an environment out of links to what is installed here; return its Python."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(place)
    packages = next((place / "lib").glob("python*")) / "site-packages"
    for distribution in closure(extras):
        for entry in {str(file).partition("/")[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(entry)))
            if not (packages / entry).exists():
                (packages / entry).symlink_to(source)
    (packages / "checkout.pth").write_text(str(REPOSITORY / "src"))
    return place / "bin" / "python"


def closure(extras: set[str]) -> list[importlib.metadata.Distribution]:
    """Return all that retinai requires with some extras: itself as `pyproject.toml` says, the rest by its metadata."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    todo = [Requirement(text) for text in project["dependencies"]]
    todo += [Requirement(f"retinai[{extra}]") for extra in extras]
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        asked = todo.pop()
        item = (asked.name.lower(), frozenset(asked.extras))
        if item in seen:
            continue
        seen.add(item)
        if asked.name == "retinai":
            todo += [Requirement(text) for extra in asked.extras for text in project["optional-dependencies"][extra]]
            continue
        found.setdefault(item[0], importlib.metadata.distribution(asked.name))
        for text in found[item[0]].requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (asked.extras or {""})):
                todo.append(requirement)
    return list(found.values())
