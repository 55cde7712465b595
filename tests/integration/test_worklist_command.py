"""`retinai worklist`: the most urgent first, a patient's photographs together, everything in one page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fundus_pictures import fundus_pictures

from retinai.app.results import ACTIONS
from retinai.runtime import ExportedModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    photographs = tmp_path_factory.mktemp("today")
    for number, data in enumerate(fundus_pictures(5)):
        (photographs / f"eye_{number}.png").write_bytes(data)
    (photographs / "<b>broken.jpg").write_text("no photograph")
    return photographs


def test_the_list(
    tiny_export: Path, folder: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "list.html"
    words = ["worklist", f"model={tiny_export}", f"images={folder}", f"out={out}", "threads=1"]
    assert command(*words) == 0
    assert "6 photographs" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "list.csv")
    order = [ACTIONS.index(action) for action in table["action"]]
    assert order == sorted(order) and len(table) == 6
    expected = ExportedModel(tiny_export, threads=1).predict(sorted(folder.glob("eye*")), workers=0).set_index("id")
    for row in table[table["id"].str.startswith("eye")].itertuples():
        assert row.p_severe == pytest.approx(expected.loc[row.id, "p_severe"], abs=1e-6)
    page = out.read_text()
    assert "&lt;b&gt;broken.jpg" in page and "<b>broken" not in page and "Research software" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # it holds all it shows
    assert page.count("<tr class=") == 6
    assert command(*words) == 2 and "exists" in capsys.readouterr().err
    assert command(*words, "overwrite=true", "language=es") == 0 and "Lista de trabajo" in out.read_text()


def test_a_record_of_the_list(tiny_export: Path, folder: Path, command: Callable[..., int], tmp_path: Path) -> None:
    import sqlite3

    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(folder / "eye_0.png", one)
    words = [f"model={tiny_export}", f"images={one}", f"out={tmp_path / 'x.html'}", f"audit={tmp_path / 'a.sqlite'}"]
    assert command("worklist", *words) == 0
    with sqlite3.connect(tmp_path / "a.sqlite") as record:
        assert record.execute("SELECT origin, length(photograph_sha256) FROM gradings").fetchall() == [("worklist", 64)]


@pytest.mark.parametrize("name", ["list.html", "list.csv"])
def test_the_record_is_no_file_that_the_list_writes(
    name: str, tiny_export: Path, folder: Path, command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [f"model={tiny_export}", f"images={folder}", f"out={tmp_path / 'list.html'}", f"audit={tmp_path / name}"]
    assert command("worklist", *words) == 2
    assert "name another file for the record" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
