"""model=two_eyes from drawn photographs of ODIR to patients, through the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two_eyes")


@pytest.fixture(scope="module")
def cohort(synthetic_odir: Path, place: Path) -> Path:
    """Drawn patients, one of whom has lost a photograph in the table's eyes: its keywords are `no fundus image`."""
    return Path(shutil.copytree(synthetic_odir, place / "cohort"))


@pytest.fixture(scope="module")
def words(cohort: Path, place: Path) -> list[str]:
    return [
        "data=odir", f"data.root={cohort}", "model=two_eyes", "loss=bce", *SMALL_NETWORK, "backbone.input_size=32",
        "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], command: Command, place: Path) -> Path:
    assert command("train", *words, f"run_dir={place / 'run'}") == 0
    return place / "run"


def probabilities(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"id": str}).set_index("id").filter(like="p_").sort_index()


def test_it_trains_and_is_measured_by_photographs_and_by_patients(run: Path, command: Command, place: Path) -> None:
    out = place / "out"
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "level=patient", f"run_dir={out}", "accelerator=cpu",
             "num_workers=0", f"paths.cache={place / 'cache'}", "logger=none"]  # fmt: skip
    assert command("evaluate", *words) == 0
    pd.testing.assert_frame_equal(probabilities(out / "predictions.csv"), probabilities(run / "predictions.csv"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert "odir_final" in json.dumps(metrics["per_patient"]) and len(pd.read_csv(out / "patients.csv")) > 3


def test_files_are_paired_by_name_as_the_table_pairs_them_and_a_lone_eye_is_graded(
    run: Path, cohort: Path, command: Command, place: Path, tmp_path: Path
) -> None:
    tested = probabilities(run / "predictions.csv")
    loose, whole = tmp_path / "loose", cohort / "Training Images"
    loose.mkdir()
    both = [i for i in tested.index if i.replace("left", "right") in tested.index and "left" in i]
    first = both[0]
    for name in (first, first.replace("left", "right")):
        shutil.copy(whole / f"{name}.jpg", loose)
    shutil.copy(whole / f"{both[1]}.jpg", loose)  # the other eye of this patient stays behind
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"images={loose}", "num_workers=0", "accelerator=cpu"]
    assert command("predict", *words, f"out={tmp_path / 'p.csv'}") == 0
    read = probabilities(tmp_path / "p.csv")
    pairs = [first, first.replace("left", "right")]
    np.testing.assert_allclose(read.loc[pairs], tested.loc[pairs], atol=2e-3)  # stored probabilities are calibrated
    alone = read.loc[both[1]]
    assert alone.notna().all() and not np.allclose(alone, tested.loc[both[1]], atol=1e-6)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["data=aptos", "loss=cross_entropy"], "model=two_eyes reads both"),
        (["guidance=entropy"], "model=two_eyes reads two; set guidance=none"),
    ],
)
def test_what_has_no_two_eyes_is_refused(
    more: list[str], told: str, words: list[str], synthetic_aptos: Path, command: Command, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = [f"data.root={synthetic_aptos}"] if more[0] == "data=aptos" else []
    assert command("train", *words, *more, *root, f"run_dir={tmp_path / 'run'}") == 2
    said = " ".join(capfd.readouterr().err.split())
    assert told in said and not (tmp_path / "run").exists()


def test_it_has_no_form_but_its_checkpoint(
    run: Path, command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "format=onnx", f"out={tmp_path / 'folder'}", "logger=none"]
    assert command("export", *words) == 2
    assert "it has no form but its checkpoint" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "folder").exists()
