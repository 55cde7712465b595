"""One training at a time in one run folder: a lock that the system releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from retinai.errors import UserError
from retinai.log import note
from retinai.run.run_records import is_there

try:
    import fcntl
except ImportError:  # a system without POSIX locks (Windows): two runs in one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
# A disk that keeps no locks, such as Lustre mounted without `flock`.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def locked(folder: Path, holder: str = "training", wait: bool = False, key: str = "") -> Iterator[None]:
    """Hold the lock of a folder; of a run folder the first process of a run does, for all of its processes (DDP).

    A POSIX record lock on `<folder>/.lock`: unlike one of `flock` it does not pass to forked loader processes, which
    may outlive a killed run by seconds. NFS and Lustre (mounted with `flock`) hold it across machines; with
    `localflock` it holds on one machine only, and a disk that keeps no locks is told and used without.

    Args:
        folder: An existing folder.
        holder: What holds it, for the message of the one that comes second.
        wait: Wait for the other one's end instead.
        key: That chose the folder, for the same message; empty: `run_dir` of a training, else `sweep`.

    Raises:
        UserError: If another process holds it; says which. Or if the lock's place is taken.
    """
    if fcntl is None:
        yield
        return
    key = key or ("run_dir" if holder == "training" else "sweep")
    with _open(folder / LOCK, key) as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _in_use(folder, holder, key) from None
            if error.errno not in _NO_LOCKS:
                raise
            note(f"the disk of {folder} keeps no locks, so a second {holder} in this folder is not noticed")
        handle.seek(0)
        handle.truncate()
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        handle.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
        handle.flush()
        yield


def check_unlocked(folder: Path) -> None:
    """Refuse a folder in which another process trains, before any work is done.

    Raises:
        UserError: Says which process, or that something else stands in the lock's place.
    """
    if fcntl is None or not is_there(folder / LOCK):
        return
    with _open(folder / LOCK) as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _in_use(folder) from None


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder, which need not be writable."""
    if fcntl is None or not (folder / LOCK).is_file():
        return False
    try:
        handle = (folder / LOCK).open("rb")
    except OSError:  # of somebody else, who lets nobody read it
        return False
    with handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


def _open(place: Path, key: str = "run_dir") -> TextIO:
    """Open the file of a lock, in the folder that a key chose.

    Raises:
        UserError: If something else stands in its place.
    """
    if is_there(place) and not place.is_file():
        raise UserError(f"{place} is no file, so that no lock can be held; remove it, or choose another {key}=")
    return place.open("a+", encoding="utf-8")


def _in_use(folder: Path, holder: str = "training", key: str = "run_dir") -> UserError:
    """Return the refusal of a second run, with what the first one wrote of itself."""
    try:
        written = (folder / LOCK).read_text(encoding="utf-8").strip()
    except OSError:  # the other one has just ended and taken its folder away
        written = ""
    who = f" ({written})" if written else ""
    return UserError(f"{folder} is in use by another {holder}{who}; wait for its end, or choose another {key}=")


@contextmanager
def held(folder: Path, holder: str, key: str) -> Iterator[None]:
    """Hold the lock of a folder of results, and leave none behind.

    Args:
        folder: An existing folder.
        holder: What holds it, for the message of the one that comes second.
        key: That chose the folder.

    Raises:
        UserError: If another process holds it, or has just ended.
    """
    with locked(folder, holder, key=key):
        if fcntl is not None and not (folder / LOCK).exists():  # the other one removed what is held here
            raise _in_use(folder, holder, key)
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
