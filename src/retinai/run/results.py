"""The folder that a command's results go to: one command at a time, and nothing is left of one that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from retinai.output_folders import make_unique, remove_empty
from retinai.run.lock import held


@contextmanager
def results_folder(folder: Path, holder: str, unique: bool, key: str = "run_dir") -> Iterator[Path]:
    """Make a folder for results and hold it; on any error what was made in it is removed again.

    Args:
        folder: The folder, checked to be writable.
        holder: The command, for the message of one that comes second.
        unique: Whether the command chose the name itself, so that one that is taken gets a number.
        key: The key that chose the folder otherwise.

    Yields:
        The folder.

    Raises:
        UserError: If another command writes there.
    """
    absent = [place for place in folder.parents if not place.exists()]
    is_new = unique or not folder.exists()
    if unique:
        folder = make_unique(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder, holder, key):
            before = set(folder.iterdir())  # only now: another command may just have written what stays
            try:
                yield folder
            except BaseException:
                _remove_new(folder, before)
                raise
    except BaseException:
        if is_new:
            remove_empty([folder, *absent])
        raise


@contextmanager
def named_folder(look: Callable[[], Path], holder: str, key: str = "run_dir") -> Iterator[Path]:
    """Hold the folder that the user named for results; of two commands at once the second is refused.

    Args:
        look: Returns the folder, or refuses it because it cannot be written or holds results. Asked again once the
            folder is held, since another command may have come and gone meanwhile.
        holder: The command, for messages.
        key: The key that named the folder.

    Yields:
        The folder; on any error what was made in it is removed again.

    Raises:
        UserError: As `look`, or if another command writes there.
    """
    with results_folder(look(), holder, unique=False, key=key) as folder:
        look()
        yield folder


def named_or_new(
    named: object, look: Callable[[], Path], default: Path, holder: str, key: str
) -> AbstractContextManager[Path]:
    """Return the folder that the user named, held, or else a new one.

    Args:
        named: What the user wrote; None or empty for a new folder.
        look: As in `named_folder`.
        default: The new folder, whose name the command chose.
        holder: The command, for messages.
        key: The key that names the folder.
    """
    return named_folder(look, holder, key) if named else results_folder(default, holder, unique=True)


def held_or_new(folder: Path | None, default: Path, holder: str) -> AbstractContextManager[Path]:
    """Return the folder that is held since the command began, or else a new one.

    Args:
        folder: Of `named_folder`; None where the user named none.
        default: The new folder, whose name the command chose.
        holder: The command, for messages.
    """
    return results_folder(default, holder, unique=True) if folder is None else nullcontext(folder)


def _remove_new(folder: Path, before: set[Path]) -> None:
    """Remove what a folder holds now and did not hold before; the lock is let go of by its holder."""
    for path in set(folder.iterdir()) - before:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
