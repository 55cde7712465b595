"""Places that a command will write to: looked at before work begins, and cleared of what killed commands left there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retinai.errors import UserError
from retinai.files import UNWRITABLE, no_room, short_name, told

# A leftover of another machine, whose processes cannot be seen from here, is removed at this age in seconds.
_LEFTOVER_AGE = 86400.0
# What a temporary name adds to the name of a file or folder: `.NAME.HOST-PID.SUFFIX`.
_OWNER = re.compile(r"\.(?P<host>.+)-(?P<pid>\d+)(?:[.-][^.-]*)?$")


def check_folder(place: str | Path, key: str) -> Path:
    """Return a folder that files can be written to; it need not exist yet, and is not made.

    Args:
        place: The folder.
        key: The key that chose it, for the message, such as `run_dir`.

    Raises:
        UserError: If it is a file, lies below one, has a name that is too long, or cannot be written.
    """
    folder = Path(str(place)).expanduser()
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{key}={folder} is a file; choose a folder")
        _try_to_write(folder)
    except OSError as error:
        raise UserError(f"{key}={_shown(folder)} cannot be written: {told(error)}; choose another folder") from error
    return folder


def check_file(place: str | Path, key: str, overwrite: bool = False) -> Path:
    """Return a file that can be written; what killed commands left of it is removed.

    Args:
        place: The file.
        key: The key that chose it, for the message, such as `out`.
        overwrite: Accept a file that is there.

    Raises:
        UserError: If it is a folder, is there already, or cannot be written.
    """
    file = Path(str(place)).expanduser()
    try:
        if file.is_dir():
            raise UserError(f"{key}={file} is a folder; name a file")
        _try_to_write(file.parent, file.name)
        there = file.exists() or file.is_symlink()
    except OSError as error:
        raise UserError(f"{key}={_shown(file)} cannot be written: {told(error)}; choose another file") from error
    if there and not overwrite:
        raise UserError(f"{key}={file} exists; choose another name, or replace it with overwrite=true")
    remove_leftovers(file.parent, file.stem)
    return file


def check_new(folder: Path, key: str, files: tuple[str, ...], overwrite: bool) -> Path:
    """Return a folder of results that can be written and does not hold such results already.

    Args:
        folder: The folder.
        key: The key that chose it.
        files: Names of the results that would be replaced.
        overwrite: Accept a folder that holds them.

    Raises:
        UserError: As `check_folder`, or if one of the results is there.
    """
    folder = check_folder(folder, key)
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"{key}={folder} holds {', '.join(there)} already; choose another folder, or replace them with "
            "overwrite=true"
        )
    return folder


def make_unique(folder: Path) -> Path:
    """Make a folder under a name that a command chose; one that is taken gets a number: `<name>-2`, `<name>-3` ...

    Of two commands that choose the same name at once, the one that makes the folder has it.

    Returns:
        The folder that was made.

    Raises:
        UserError: If a thousand names are taken.
    """
    for number in range(1, 1000):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return candidate
    raise UserError(f"no free folder name beside {folder}; name a folder yourself")


def remove_empty(folders: list[Path]) -> None:
    """Remove folders that are empty, from the deepest on; the first one that is not ends it.

    Args:
        folders: A folder and those above it, the deepest first.
    """
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


@contextmanager
def whole_folder(out: Path, key: str = "out") -> Iterator[Path]:
    """Yield a new folder beside `out` that takes its place when all went well and is removed on any error.

    Its name tells host and process; folders that killed processes left for the same place are removed first.

    Args:
        out: The folder to write; must not exist, or be empty.
        key: The key that chose it, for messages.

    Raises:
        UserError: If there is no room, the place cannot be written, or another process filled it meanwhile.
    """
    temporary = out.with_name(short_name(out.name, f"{socket.gethostname()}-{os.getpid()}.partial"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out.parent, out.name)
        if temporary.exists():
            shutil.rmtree(temporary)  # of a killed process that had the number of this one
        temporary.mkdir()
        yield temporary
        # A rename onto an empty folder replaces it in one step, and fails if another process filled it meanwhile.
        temporary.rename(out)
    except OSError as error:
        if lack := no_room(error):
            raise UserError(f"{lack[0]}: {out} could not be written; {lack[1]} or give another {key}=") from error
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{key}={out} was filled by another job in the meantime; use what it wrote") from error
        if error.errno in UNWRITABLE:
            raise UserError(f"{key}={out} cannot be written: {told(error)}; give a folder of your own") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, name: str | None) -> int:
    """Remove what killed processes left of their temporary files and folders for one place.

    A leftover of this host goes when its process is no more; one of another host when it is a day old.

    Args:
        folder: Where they lie.
        name: The name of the file (without suffix) or folder that they were to become; None: of any.

    Returns:
        How many were removed.
    """
    begin, removed = "." if name is None else short_name(name, ""), 0
    for path in _hidden(folder):
        rest = path.name[len(begin) - 1 :]
        if name is None:  # where the name ends is known by the host that follows
            rest = rest[max(rest.rfind(f".{socket.gethostname()}-"), 0) :]
        if path.name.startswith(begin) and _is_left(path, rest):
            removed += 1
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return removed


def _hidden(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.startswith(".")]
    except OSError:
        return []  # not there yet, or not readable: then nothing can be removed either


def _is_left(path: Path, rest: str) -> bool:
    """Whether a temporary name (`.HOST-PID...`) belongs to a process that is no more."""
    found = _OWNER.match(rest)
    if found is None:
        return False
    if found["host"] == socket.gethostname():
        return not is_alive(int(found["pid"]))
    try:
        return time.time() - path.lstat().st_mtime > _LEFTOVER_AGE
    except FileNotFoundError:
        return False  # its process has just finished


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _try_to_write(folder: Path, *names: str) -> None:
    """Make and remove a temporary file in the nearest folder that exists, after a look at names that are too long.

    Raises:
        OSError: What the system says.
    """
    nearest, missing = folder.absolute(), []
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        missing.append(nearest.name)
        nearest = nearest.parent
    longest, name = max((len(os.fsencode(part)), part) for part in (*missing, *names, "."))
    limit = _limit(nearest, "PC_NAME_MAX")
    if limit is not None and longest > limit:
        raise OSError(errno.ENAMETOOLONG, f"a name of {longest} bytes is too long, {limit} is the most", name)
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is no folder", str(nearest))
    with tempfile.TemporaryFile(dir=nearest, prefix=".retinai-"):
        pass


def _limit(folder: Path, what: str) -> int | None:
    try:
        return os.pathconf(folder, what)
    except (OSError, ValueError, AttributeError):
        return None  # a system that does not tell; the write itself will


def _shown(path: Path) -> Any:
    """Return a path as messages show it, a very long one cut in the middle."""
    text = str(path)
    return path if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"
