"""`retinai segment biomarkers=true` on a cohort whose vessels are known, and `synthesize layout=oculomics`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_network import SMALL_NETWORK

Command = Callable[..., int]


@pytest.fixture(scope="module")
def cohort(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("persons") / "cohort"
    words = ["layout=oculomics", "n=40", "size=320", "workers=1", f"out={out}"]
    assert command("synthesize", *words, "log_odds.artery=-3", "log_odds.tortuosity=0") == 0
    return out


def test_the_cohort_is_what_its_table_says(cohort: Path) -> None:
    table = pd.read_csv(cohort / "table.csv")
    assert len(table) == table["id"].nunique() == 40 and set(table["target"]) == {0, 1}
    persons = table.groupby("patient")
    assert persons.size().iloc[:-1].between(2, 4).all() and (persons["target"].nunique() == 1).all()
    assert set(table["eye"]) == {"left", "right"} and set(table["sex"]) == {"male", "female"}
    for row in table.head(3).itertuples():
        assert Image.open(cohort / str(row.path)).size == (320, 320)
        classes = np.asarray(Image.open(cohort / "vessels" / f"{row.id}.png"))
        assert set(np.unique(classes)) == {0, 1, 2, 3} and classes.shape == (320, 320)


def test_it_trains_as_a_table(cohort: Path, command: Command, tmp_path: Path) -> None:
    words = [
        "data=table", f"data.file={cohort / 'table.csv'}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=64", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        f"paths.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert command("train", *words) == 0


def test_biomarkers_of_photographs_and_patients(cohort: Path, command: Command, tmp_path: Path) -> None:
    """With true masks, tortuosity is told of every photograph; without a disc there are no calibres."""
    out = tmp_path / "out"
    words = [
        "data=table", f"data.file={cohort / 'table.csv'}", "vessels=folder", f"masks={cohort / 'vessels'}",
        f"paths.cache={tmp_path / 'cache'}", "num_workers=0", f"out={out}",
    ]  # fmt: skip
    assert command("segment", *words, "biomarkers=true", "disc=none") == 0
    table, persons = pd.read_csv(out / "segment.csv"), pd.read_csv(out / "patients.csv")
    assert table["tortuosity"].notna().all() and table["crae"].isna().all() and table["error"].isna().all()
    assert table["fractal_dimension"].between(1, 2).all()
    truth = pd.read_csv(cohort / "table.csv").set_index("id")
    assert len(persons) == truth["patient"].nunique() and persons["photographs"].sum() == 40
    known = table.set_index("id").join(truth, rsuffix="_true")
    assert known["tortuosity"].corr(known["tortuosity_true"], method="spearman") > 0.5


def test_calibres_of_a_real_photograph(idrid_root: Path, command: Command, tmp_path: Path, weights_root: Path) -> None:
    """Its disc lies in the middle, so that six arteries and six veins leave it; 0.6 to 0.7 is usual for their ratio."""
    part = idrid_root / "A. Segmentation" / "1. Original Images" / "a. Training Set"
    words = [f"images={part / 'IDRiD_04.jpg'}", f"paths.weights={weights_root}", "biomarkers=true", "num_workers=0"]
    assert command("segment", *words, f"out={tmp_path / 'out'}") == 0
    row = pd.read_csv(tmp_path / "out" / "segment.csv").iloc[0]
    assert row["disc_diameter"] == pytest.approx(121, rel=0.05)
    assert row["crae_vessels"] == row["crve_vessels"] == 6 and 0.55 < row["avr"] < 0.75
    assert row["avr"] == pytest.approx(row["crae"] / row["crve"])
    assert not (tmp_path / "out" / "patients.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["biomarkers=true", "paths.weights=/nowhere"], "or do without calibres: disc=none"),
        (["biomarkers=true", "disc=brightest"], "disc=brightest"),
    ],
)
def test_what_is_missing_is_told_first(
    words: list[str], said: str, cohort: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command("segment", f"images={cohort / 'photographs'}", "vessels=sato", f"out={out}", *words) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_odds_that_are_no_numbers_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("log_odds.artery=much", "log_odds.vein=1"):
        assert command("synthesize", "layout=oculomics", "n=40", f"out={tmp_path / 'out'}", word) == 2
        assert "log_odds" in capsys.readouterr().err and not (tmp_path / "out").exists()
