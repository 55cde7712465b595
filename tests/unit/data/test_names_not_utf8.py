"""Names that are not UTF-8 among the files of a data set: told in one sentence, or left out and told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from retinai.data.sources.aptos import AptosDataModule
from retinai.data.sources.odir import OdirDataModule
from retinai.errors import DataError


def test_a_root_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(root).mkdir()
    with pytest.raises(DataError, match=r"caf\\xe9 of aptos has a name that is not UTF-8; rename it"):
        _ = AptosDataModule(root=root, cache=tmp_path / "cache").root


def test_unlabelled_photographs_of_odir_are_left_out(synthetic_odir: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(synthetic_odir, tmp_path / "odir"))
    folder = root / "Testing Images"
    before = len(list(folder.glob("*.jpg")))
    shutil.copy(next(folder.glob("*.jpg")), os.fsdecode(os.fsencode(folder) + b"/99\xe9_left.jpg"))
    data = OdirDataModule(root=str(root), cache=tmp_path / "cache")
    table = data.source.read_table()
    assert (table["split"] == "predict").sum() == before
    assert r"1 photographs left out, whose names are not UTF-8: 99\xe9_left.jpg" in data.notes
