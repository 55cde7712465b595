"""`retinai train model=distiller` on a tiny cohort: trained, used without its teacher, resumed, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

Command = Callable[..., int]


@pytest.fixture
def words(synthetic_aptos: Path, tiny_runs: list[Path]) -> list[str]:
    """Words of a student on fold 0, smaller than its teacher."""
    return [
        "train", "data=aptos", f"data.root={synthetic_aptos}", "data.folds=2", "data.fold=0", "data.num_workers=0",
        "data.batch_size=8", "backbone=resnet18", "backbone.architecture=test_resnet", "backbone.weights=none",
        "backbone.input_size=24", "trainer=cpu", "trainer.max_epochs=2", "logger=none",
        f"paths.cache={tiny_runs[0].parent / 'cache'}", "calibrate=false",
    ]  # fmt: skip


def test_a_student_is_taught_used_and_resumed(
    words: list[str],
    tiny_checkpoint: Path,
    tiny_runs: list[Path],
    synthetic_aptos: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher, run = tmp_path / "teacher.ckpt", tmp_path / "run"
    shutil.copy(tiny_checkpoint, teacher)
    words = [*words, "model=distiller", f"teacher.ckpt=[{teacher},{tiny_checkpoint}]", f"run_dir={run}"]
    words += ["consistency=rotation", "loss=effective_number", "loss.label_smoothing=0.1"]
    assert command(*words) == 0
    assert "note: teacher: " in capsys.readouterr().err
    table = pd.read_csv(run / "metrics.csv")
    assert table["train/alpha"].tolist() == pytest.approx([0.2, 0.8])
    parts = table["train/alpha"] * table["train/kd"] + (1 - table["train/alpha"]) * table["train/ce"]
    assert table["train/loss"].tolist() == pytest.approx((parts + table["train/consistency"]).tolist(), rel=1e-4)
    record = json.loads((run / "run.json").read_text())
    assert record["teacher"] == "resnet18 32 px cross_entropy, resnet18 32 px cross_entropy"
    assert record["consistency"] == "rotation" and record["attention"] is None
    file = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert [r["path"] for r in file["retinai"]["teachers"]] == [str(teacher), str(tiny_checkpoint)]
    # Two teachers besides would make it near twice as large.
    assert (run / "checkpoints" / "best.ckpt").stat().st_size < 1.5 * teacher.stat().st_size

    teacher.unlink()
    images = synthetic_aptos / "train_images"
    ckpt = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    assert command("predict", ckpt, f"images={images}", f"out={tmp_path / 'rows.csv'}", "accelerator=cpu") == 0
    assert pd.read_csv(tmp_path / "rows.csv")["error"].isna().all()
    assert command("evaluate", ckpt, f"run_dir={tmp_path / 'evaluation'}", "accelerator=cpu") == 0
    measured = [json.loads((f / "metrics.json").read_text())["qwk"] for f in (run, tmp_path / "evaluation")]
    assert measured[0] == measured[1]
    capsys.readouterr()
    assert command(*words, "resume=true") == 2
    assert "teacher.ckpt does not exist" in capsys.readouterr().err
    shutil.copy(tiny_checkpoint, teacher)  # the same weights again, so the run goes on
    assert command(*words, "resume=true", "test=false") == 0
    shutil.copy(tiny_runs[1] / "checkpoints" / "best.ckpt", teacher)
    assert command(*words, "resume=true") == 2
    assert "have other weights" in capsys.readouterr().err


def test_what_cannot_be_taught_is_refused_before_a_run_folder_is_made(
    words: list[str],
    tiny_checkpoint: Path,
    synthetic_idrid: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    taught = ["model=distiller", f"teacher.ckpt={tiny_checkpoint}"]
    other_task = ["data=idrid", f"data.root={synthetic_idrid}", "data.target=dme"]
    cases = [
        (["model=distiller"], ["model=distiller needs a teacher", "teacher.ckpt=RUN"]),
        ([*taught, *other_task], ["task dr_grade", "task dme_risk", "choose a teacher.ckpt of the same task"]),
        ([*taught, "loss=corn"], ["loss=corn", "class logits"]),
        ([*taught, "data.preprocess.crop=none"], ["data.preprocess.crop=none", "trained with fov"]),
        ([*taught, "model.alpha_end=1.5"], ["model.alpha_end=1.5", "0 to 1"]),
        (["model=distiller", "teacher.ckpt=gone.ckpt"], ["teacher gone.ckpt does not exist"]),
        (["model=distiller", f"teacher.ckpt={__file__}"], [__file__]),
    ]
    for number, (more, told) in enumerate(cases):
        folder = tmp_path / str(number)
        assert command(*words, *more, f"run_dir={folder}") == 2, more
        said = capsys.readouterr().err
        assert all(part in said for part in told), said
        assert "Traceback" not in said and not folder.exists()


def test_notes_on_teachers_that_know_the_exam_and_on_ones_that_nobody_listens_to(
    words: list[str], tiny_runs: list[Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other_fold = tiny_runs[1] / "checkpoints" / "best.ckpt"
    common = [*words, "trainer.max_epochs=1", "test=false", f"teacher.ckpt={other_fold}"]
    assert command(*common, "model=distiller", f"run_dir={tmp_path / 'a'}") == 0
    said = capsys.readouterr().err
    assert "photographs of the test split, so results on it are too kind" in said
    assert command(*common, "model=classifier", f"run_dir={tmp_path / 'b'}") == 0
    said = capsys.readouterr().err
    assert "teacher.ckpt is not used: model=classifier" in said and "too kind" not in said
