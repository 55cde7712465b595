"""Ids that a spreadsheet would calculate are text in every CSV file of a run, and the commands read them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_network import SMALL_NETWORK

import retinai
from retinai.files import read_csv

Command = Callable[..., int]
IDS = ["=cmd|' -C calc'!A0", "+1", "-1", "@SUM(A1)", "'=1", "''-1"]


@pytest.fixture(scope="module")
def cohort(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of APTOS in which some photographs have such ids."""
    root = Path(shutil.copytree(synthetic_aptos, tmp_path_factory.mktemp("ids") / "aptos"))
    table = pd.read_csv(root / "train.csv", dtype=str)
    for number, name in enumerate(IDS):
        old = table.loc[number, "id_code"]
        (root / "train_images" / f"{old}.png").rename(root / "train_images" / f"{name}.png")
        table.loc[number, "id_code"] = name
    table.to_csv(root / "train.csv", index=False)
    return root


@pytest.fixture(scope="module")
def run(cohort: Path, command: Command) -> Path:
    """A run on it."""
    folder = cohort.parent / "run"
    words = [
        "data=aptos", f"data.root={cohort}", "data.num_workers=0", *SMALL_NETWORK,
        "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"run_dir={folder}",
        f"paths.cache={cohort.parent / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    return folder


def is_calm(file: Path) -> bool:
    cells = read_csv(file, escaped=False)
    texts = cells.loc[:, [name for name in cells if not name.startswith("p_")]]
    return not texts.map(lambda cell: cell[:1] in tuple("=+-@\t\r\n")).any(axis=None)


def test_split_and_predictions_are_text_and_read_back(run: Path, cohort: Path, command: Command) -> None:
    assert is_calm(run / "split.csv") and is_calm(run / "predictions.csv")
    split = read_csv(run / "split.csv")
    assert set(IDS) <= set(split["id"])
    assert set(read_csv(run / "predictions.csv")["id"]) == set(split.loc[split["split"] == "test", "id"])
    out = cohort.parent / "evaluated"
    words = [f"run_dir={out}", f"paths.cache={cohort.parent / 'cache'}", "accelerator=cpu", "num_workers=0"]
    assert command("evaluate", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "split=train", *words) == 0
    assert set(read_csv(out / "predictions.csv")["id"]) == set(split.loc[split["split"] == "train", "id"])


def test_a_split_file_is_followed(run: Path, cohort: Path, command: Command) -> None:
    folder = cohort.parent / "again"
    words = [f"data.split_file={run / 'split.csv'}", "data=aptos", f"data.root={cohort}", "data.num_workers=0"]
    words += [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none"]
    words += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false", "calibrate=false"]
    assert command("train", *words, f"run_dir={folder}", f"paths.cache={cohort.parent / 'cache'}") == 0
    assert (folder / "split.csv").read_bytes() == (run / "split.csv").read_bytes()


def test_the_report_pools_them(run: Path, cohort: Path, command: Command) -> None:
    out = cohort.parent / "-report"
    assert command("report", run, f"out='{out}'", "format=[csv]") == 0
    assert is_calm(out / "report.csv")
    n = json.loads((run / "metrics.json").read_text())["n"]
    assert read_csv(out / "report.csv")["n"].tolist() == [str(n)]


def test_every_other_csv_is_written_in_the_same_place() -> None:
    source = Path(retinai.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if any(word in path.read_text() for word in (".to_csv(", "csv.writer(", "DictWriter("))
    }
    # Besides: a table of numbers, and tables of drawn cohorts with ids of our own making.
    drawn = {"synthetic/layout_odir.py", "synthetic/layout_oculomics.py"}
    assert found == {"files.py", "callbacks/metrics_csv.py"} | drawn
