"""Which file the mask of each photograph becomes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from retinai.errors import UserError

TABLE = "segment.csv"
_LONGEST = 255  # bytes of a name on all common disks


def mask_names(paths: Sequence[str]) -> list[str]:
    """Return the names of the masks of photographs, relative to the folder of the masks.

    A name is the photograph's without its suffix. Photographs that would share it keep their folders, and those of one
    folder their suffixes too: `a/1.jpg` and `b/1.jpg` give `a/1.png` and `b/1.png`, `1.jpg` and `1.png` give
    `1.jpg.png` and `1.png.png`.

    Args:
        paths: The photographs.

    Raises:
        UserError: If two photographs would still share a mask; names them.
    """
    files = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 (links stay as they are)
    root = Path(os.path.commonpath([file.parent for file in files]))
    stems = [file.stem for file in files]
    stems = _apart(stems, [file.relative_to(root).with_suffix("").as_posix() for file in files])
    names = _apart(stems, [file.relative_to(root).as_posix() for file in files])
    first: dict[str, str] = {}
    for name, path in zip(names, paths, strict=True):
        # Some disks take large and small letters for the same.
        other = first.setdefault(name.casefold(), path)
        if other is not path:
            raise UserError(f"the masks of {other} and {path} would share the name {name}.png; rename one of them")
    return [_fitting(name, ".png") for name in names]


def overlay_name(mask: str) -> str:
    """Return the name of the overlay that belongs to a mask, relative to the same folder."""
    return _fitting(f"overlays/{mask.removesuffix('.png')}", "_overlay.png")


def check_names(out: Path, names: Sequence[str], paths: Sequence[str], overwrite: bool) -> None:
    """Refuse to write over photographs, and over what is there unless that is wished.

    Args:
        out: The folder of the masks.
        names: Files that will be written, relative to it.
        paths: The photographs.
        overwrite: Whether files that are there may be replaced.

    Raises:
        UserError: Says which files are in the way.
    """
    photographs = {os.path.realpath(path) for path in paths}
    targets = [out / name for name in names]
    taken = [file for file in targets if os.path.realpath(file) in photographs]
    if taken:
        raise UserError(f"the mask {taken[0]} would replace a photograph; choose another folder: out=")
    there = [file for file in targets if os.path.lexists(file)]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(
            f"out={out} holds {there[0].relative_to(out)}{more} already; choose another folder, or replace them with "
            "overwrite=true"
        )


def _fitting(name: str, end: str) -> str:
    """Return a relative path with its end; a last part for which no disk has room is cut, with its hash."""
    folder, slash, last = name.rpartition("/")
    encoded = os.fsencode(last)
    if len(encoded) + len(end) > _LONGEST:
        cut = os.fsdecode(encoded[: _LONGEST - len(end) - 20]).encode("utf-8", "ignore").decode()
        last = f"{cut}-{hashlib.sha256(encoded).hexdigest()[:16]}"
    return f"{folder}{slash}{last}{end}"


def _apart(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Return names, and the longer ones in place of those that several share."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
    return [long if counts[name.casefold()] > 1 else name for name, long in zip(names, longer, strict=True)]
