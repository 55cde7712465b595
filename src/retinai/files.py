"""Files that are written whole or not at all, and read in whole or refused with the reason."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.csv_cells import from_cell, to_cell
from retinai.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Text of a table or of JSON lines that is larger than this is a mistake: it is read into memory as a whole.
MAX_TEXT_BYTES = 2**30
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnreadableError(Exception):
    """A file whose bytes cannot be had.

    Args:
        reason: Why, in one short clause, such as `no such file`; it does not name the file.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_regular(path: str | Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; pipes and devices, which may never end, are refused without being read.

    Links are followed.

    Args:
        path: The file.
        max_bytes: Size above which the file is refused.

    Raises:
        UnreadableError: If the file is missing, not a regular file, larger than `max_bytes`, or cannot be read.
    """
    try:
        _check_regular(Path(path).stat(), max_bytes)  # before it is opened: that alone can wake a device
        # Another file may have come to its place since: opening never waits for a pipe, and it is looked at again.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as stream:
            state = os.fstat(handle)
            _check_regular(state, max_bytes)
            # Python takes memory for as much as is asked for and gives back what is left over: with max_bytes that
            # takes longer than reading a photograph.
            data = stream.read(state.st_size + 1)
            if len(data) > state.st_size:
                data += stream.read(max_bytes + 1 - len(data))
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    except ValueError as error:  # a zero byte, or a character that the file system has no bytes for
        raise UnreadableError("no such file: its name is one that no file can have") from error
    if len(data) > max_bytes:  # it grew, or its system tells no size
        raise UnreadableError(_too_large(max_bytes))
    return data


def check_regular(path: str | Path) -> None:
    """Refuse a pipe or a device, which may never end, without opening it; links are followed.

    Raises:
        UnreadableError: If it is no regular file.
        OSError: If there is none.
    """
    _check_regular(Path(path).stat(), 2**63)


def _check_regular(state: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = next((name for test, name in _KINDS if test(state.st_mode)), "something else")
        raise UnreadableError(f"{kind}, not a file")
    if state.st_size > max_bytes:
        raise UnreadableError(_too_large(max_bytes))


def _too_large(max_bytes: int) -> str:
    return f"larger than {max_bytes / 2**20:,.0f} MiB"


# Errors of the system that are the user's to mend: the place cannot be written, whatever is written.
UNWRITABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
# Errors that are about a place and never about how it was asked for: a right that is missing, a disk that is damaged.
_OF_A_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE)
# A YAML file with more is not read: the time for brackets within brackets grows with the square of their number.
_MOST_BRACKETS = 5000
_NAME_LIMIT = 255  # bytes of a file name, on all common file systems


def no_room(error: OSError) -> tuple[str, str] | None:
    """Return what an error of the system says of the room for a file, and what helps; None if it is about else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full", "free some space"
    if error.errno == errno.EFBIG:
        return "no file may be that large here", "raise the limit (ulimit -f)"
    return None


def told(error: OSError) -> str:
    """Return an error of the system in a few words, such as `read-only file system`."""
    text = error.strerror or type(error).__name__
    return text[:1].lower() + text[1:]


def place_fault(error: OSError) -> UserError | None:
    """Return what an error of the system says of a place or limit that the user can mend; None if of something else."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if lack := no_room(error):
        return UserError(f"{lack[0]}: {name or 'what the command writes or says'} could not be written; {lack[1]}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(
            f"{told(error)}: this machine lets the command open no more; raise the limit (ulimit -n), or read with "
            "fewer processes (num_workers=0, of a data set data.num_workers=0)"
        )
    if error.errno not in _OF_A_PLACE or not name:
        return None
    return UserError(f"{name} cannot be used: {told(error)}; mend that, or choose another place")


def short_name(name: str, end: str) -> str:
    """Return the hidden temporary name `.<name>.<end>`; a name for which there is no room is cut, with its hash.

    Args:
        name: Of the file or folder that it stands for.
        end: What is added; where it is empty the common beginning of all such names is returned.
    """
    most = _NAME_LIMIT - 100  # room for host, process and suffix
    encoded = os.fsencode(name)
    if len(encoded) > most:
        cut = encoded[: most - 20].decode("utf-8", "ignore")
        name = f"{cut}-{hashlib.sha256(encoded).hexdigest()[:16]}"
    return f".{name}.{end}"


def plain_name(text: str) -> str:
    """Return a text as the name of a file or folder, which leads nowhere else and is not hidden."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in text).strip(". ")[:120] or "_"


def unique_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a plain name for each of some different texts; names that would be the same get a number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        name, number = plain_name(text), 2
        while name.casefold() in taken:
            name, number = f"{plain_name(text)}_{number}", number + 1
        taken.add(name.casefold())
        names[text] = name
    return names


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    The temporary name holds host and process id, so that two jobs that write the same file at once,
    also from two machines on one shared disk, do not disturb each other: the last one to finish
    wins, and a reader sees one whole file or the other. On any error the temporary file is removed
    and `path` is left as it was.

    Args:
        path: The file to write; its folder is made if it is missing.

    Yields:
        The temporary path, with the suffix of `path`, not yet existing.

    Raises:
        UserError: If there is no room for the file, or the place cannot be written; names the file.
    """
    path = Path(path)
    temporary = path.with_name(short_name(path.stem, f"{socket.gethostname()}-{os.getpid()}{path.suffix}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        if lack := no_room(error):
            raise UserError(
                f"{lack[0]}: {path} could not be written; {lack[1]} or choose another place "
                "(run_dir=, paths.outputs=, paths.cache=)"
            ) from error
        if error.errno in UNWRITABLE and str(error.filename) in map(str, (temporary, path, *path.parents)):
            raise UserError(f"{path} cannot be written: {told(error)}; choose another place") from error
        raise
    finally:
        with suppress(OSError):  # what cannot be reached was not made either
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    r"""Write a text file (UTF-8) whole or not at all; a byte of a file name that is not UTF-8 becomes `\udcff`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file (indented, NaN refused) whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        UserError: If the file cannot be read or holds no JSON object; says which file and why.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable as JSON: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not readable: it holds no JSON object")
    return content


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV (UTF-8) without its index, whole or not at all.

    Texts are written as `retinai.csv_cells` tells, so that a spreadsheet calculates none of them and every file
    name can be written. All tables of retinai are written here, submissions too: the ids of the competitions begin
    with letters and digits, which stay as they are.
    """
    import pandas as pd

    written = table.copy()
    for column in [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]:
        # As objects: a column of numbers and gaps keeps its whole numbers, and Arrow holds no lone surrogates.
        cells = [to_cell(cell) if isinstance(cell, str) else cell for cell in table[column]]
        written[column] = pd.Series(cells, index=table.index, dtype=object)
    written.columns = pd.Index([to_cell(str(name)) for name in table.columns], dtype=object)
    with atomic_path(path) as temporary:
        written.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")


def read_csv(path: str | Path, escaped: bool = True) -> pd.DataFrame:
    """Read a CSV file (UTF-8) as text.

    Args:
        path: The file.
        escaped: Whether `write_csv` wrote it, so that its texts are read back; False takes cells as they stand.

    Returns:
        Its columns, all as str; an empty cell is "". Blank lines are passed over.

    Raises:
        UserError: If the file cannot be read, is empty or no text, or a line has not as many cells as the header;
            says which file and why.
    """
    import pandas as pd

    text = read_text(path)
    if "\0" in text:
        raise UserError(f"{path} is not readable as a table: it holds zero bytes")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise UserError(f"{path} is not readable as a table: {_first_line(error)}") from error
    if not lines:
        raise UserError(f"{path} is empty")
    header = lines[0][1]
    for number, line in lines:
        if len(line) != len(header):
            raise UserError(f"{path} is not readable: line {number} has {len(line)} cells, its header {len(header)}")
    if len(set(header)) < len(header):
        raise UserError(f"{path} is not readable: a column stands there twice")
    read: Callable[[str], str] = from_cell if escaped else str
    cells = [[read(cell) for cell in line] for _, line in lines[1:]]
    return pd.DataFrame(cells, columns=pd.Index([read(name) for name in header], dtype=object), dtype=object)


def read_text(path: str | Path) -> str:
    """Return a text file (UTF-8) whole.

    Raises:
        UserError: If it is missing, no regular file, too large, or no text; says which file and why.
    """
    try:
        return read_regular(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnreadableError as error:
        raise UserError(f"{path}: {error.reason}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not readable: it is no text in UTF-8") from error


def read_yaml(path: str | Path) -> str:
    """Return the text of a YAML file that retinai wrote, once it is known to be YAML that can be loaded.

    References (`*name`) are refused: retinai writes none, and some lines of them unfold into gigabytes.

    Raises:
        UserError: As `read_text`, or if it is no YAML or holds references.
    """
    import yaml

    text = read_text(path)
    if sum(map(text.count, "[{")) > _MOST_BRACKETS:
        raise UserError(f"{path} is not readable: it opens more lists and mappings than any configuration has")
    try:
        refers = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader))
        if not refers:
            yaml.compose(text, Loader=yaml.SafeLoader)  # nested too deeply, it is refused here
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not readable as YAML: {_first_line(error)}") from error
    if refers:
        raise UserError(f"{path} is not readable: it holds references, which retinai never writes")
    return text


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
