"""Which photographs are meant by `images=`: every name that is found gets its row, whatever it turns out to be."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retinai.errors import UserError
from retinai.files import read_csv

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".gif", ".dcm")
KAGGLE_ID = "id_code"


@dataclass(frozen=True)
class Photographs:
    """Photographs to predict, in the order of the rows.

    Args:
        ids: A name each: the file's without its suffix, with its folder where two files share one.
        paths: The files. A byte of a name that is not UTF-8 is a lone surrogate, as in `os.fsdecode`.
        from_kaggle: Whether they are the unlabelled test photographs of APTOS.
    """

    ids: list[str]
    paths: list[str]
    from_kaggle: bool = False


def find_photographs(images: str) -> Photographs:
    """Find the photographs of a folder (with its subfolders), a pattern, or a single file.

    Every name with the suffix of a photograph is found, also a link that leads nowhere, a pipe or a device: reading
    says what is wrong with it. Links to folders are not followed. A folder with a `test.csv` (`id_code`) beside it
    is APTOS's test set: its ids are taken in the order of that file, so that a photograph that is missing gets its
    row too.

    Args:
        images: Folder, pattern or file.

    Raises:
        UserError: If nothing is found, a folder cannot be searched, or the `test.csv` cannot be used.
    """
    place = os.path.expanduser(images)  # noqa: PTH111 (an unknown user's home stays as it is written)
    if os.path.isdir(place):  # noqa: PTH112 (a name that is too long is no folder; Path raises)
        listed = _kaggle_list(Path(place))
        if listed is not None:
            return listed
        found = sorted(_walk(place))
        if not found:
            raise UserError(f"images={images}: the folder holds no photographs ({', '.join(SUFFIXES)})")
    elif os.path.lexists(place):
        found = [Path(place)]
    else:
        found = sorted(Path(name) for name in glob.glob(place, recursive=True) if _is_meant(name))  # noqa: PTH207
        if not found:
            raise UserError(f"images={images}: no such folder or file, and no file matches it as a pattern")
    return name_photographs(found)


def name_photographs(paths: Sequence[Path]) -> Photographs:
    """Return files, in the order given, with a name each."""
    return Photographs(_names(paths), [str(path) for path in paths])


def _walk(place: str) -> Iterator[Path]:
    """Yield every name below a folder that has the suffix of a photograph and is no folder that is searched itself."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"the folder {error.filename} cannot be searched ({error.strerror}); allow it, or leave it out: "
            "images= takes a pattern too"
        ) from error

    for folder, folders, files in os.walk(place, onerror=refuse):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118
        for name in (*files, *links):
            if _has_suffix(name):
                yield Path(folder, name)


def _is_meant(name: str) -> bool:
    """Return whether what a pattern found gets a row: all but folders."""
    return not os.path.isdir(name) or (os.path.islink(name) and _has_suffix(name))  # noqa: PTH112, PTH114


def _has_suffix(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _kaggle_list(folder: Path) -> Photographs | None:
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)
    labels = whole.parent / "test.csv"
    if whole.name != "test_images" or not labels.exists():
        return None
    table = read_csv(labels, escaped=False)
    if KAGGLE_ID not in table:
        return None
    ids = table[KAGGLE_ID].tolist()
    check_names(ids, labels)
    return Photographs(ids, [str(folder / f"{name}.png") for name in ids], from_kaggle=True)


def check_names(names: Sequence[str], source: Path) -> None:
    """Refuse names in a list of photographs that are empty or lead out of the folder of the photographs.

    Raises:
        UserError: If there are no names, or such ones; names the list.
    """
    if not names:
        raise UserError(f"{source} lists no photographs; fetch it again")
    wrong = [name for name in names if not name.strip() or Path(name).name != name or name == ".."]
    if wrong:
        shown = ", ".join(map(repr, wrong[:5])) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise UserError(f"{source}: an id must be the plain name of a file; found {shown}")


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the files' names without suffix; with folder and suffix for those that would be the same."""
    stems = pd.Series([path.stem for path in paths], dtype=object)  # Arrow holds no lone surrogates
    shared = stems.duplicated(keep=False)
    return [path.as_posix() if same else stem for path, stem, same in zip(paths, stems, shared, strict=True)]
