"""Names of a sweep and of its run folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from retinai.errors import UserError

_LONGEST = 60
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def sweep_folder(name: str, base: Path) -> Path:
    """Return the folder of the sweep that `sweep=` or `study=` names.

    Args:
        name: A name, or a path (with a slash).
        base: Where sweeps lie that are only named.

    Raises:
        UserError: If the name could not be a folder's.
    """
    if "/" in name:
        return Path(name).expanduser()
    if not _NAME.fullmatch(name):
        raise UserError(
            f"sweep={name} is no name; it begins with a letter or digit and goes on with letters, digits and . _ + - "
            "(a path has a slash in it)"
        )
    return base / name


def folder_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return the name of each job's run folder: its number and, in short, the words that not all jobs share.

    `loss=focal optimizer.lr=1e-4` becomes `3_focal-lr1e-4`. The number alone makes it unique.

    Args:
        jobs: The words of each job.
    """
    names = []
    for number, words in enumerate(own_words(jobs)):
        short = "-".join(map(_short, words))[:_LONGEST].rstrip("-_.")
        names.append(f"{number}_{short}" if short else str(number))
    return names


def _short(word: str) -> str:
    """Return a word as part of a folder's name: an option stands for itself, a key of a section before its value."""
    key, _, value = word.partition("=")
    value = value.rstrip("/").rpartition("/")[2]  # of a path its last part
    last = key.lstrip("+~").rpartition(".")[2]
    text = value if "." not in key and not value[:1].isdigit() else f"{last}{value}"
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_.-") or last


def own_words(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the words of each job that not all jobs share; a single job has none."""
    common = set.intersection(*map(set, jobs)) if jobs else set()
    return [[word for word in words if word not in common] for words in jobs]


def called(number: int, own: Sequence[str]) -> str:
    """Return how messages call a job: by its number and the words that are its own."""
    return f"job {number} ({' '.join(own)})" if own else f"job {number}"
