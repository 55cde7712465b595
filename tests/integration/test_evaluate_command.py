"""`retinai evaluate` on the checkpoint of a real, tiny run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_network import SMALL_NETWORK

from retinai.modules.load import load_module
from retinai.prediction.files import predict_files
from retinai.prediction.photographs import Photographs

Command = Callable[..., int]


def test_it_repeats_the_test_of_the_training_run(
    tiny_runs: list[Path], tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    words = ["evaluate", f"ckpt={tiny_checkpoint}", f"run_dir={out}", "accelerator=cpu", "num_workers=0"]
    assert command(*words, f"paths.cache={tmp_path / 'cache'}") == 0
    text = capsys.readouterr().out
    assert "quadratic weighted kappa" in text and text.rstrip().endswith(f"run folder: {out}")
    assert json.loads((out / "metrics.json").read_text()) == json.loads((tiny_runs[0] / "metrics.json").read_text())
    ours, theirs = (pd.read_csv(folder / "predictions.csv") for folder in (out, tiny_runs[0]))
    pd.testing.assert_frame_equal(ours, theirs)
    assert {p.name for p in (out / "figures").iterdir()} >= {"confusion_matrix.png", "roc.png", "pr.png"}
    assert "<img" in (out / "report.html").read_text()


def test_train_is_predicted_whole_and_without_augmentation(
    tiny_runs: list[Path], tiny_checkpoint: Path, command: Command, tmp_path: Path
) -> None:
    words = ["evaluate", f"ckpt={tiny_checkpoint}", "split=train", "accelerator=cpu", "num_workers=0", "batch_size=7"]
    assert command(*words, f"run_dir={tmp_path / 'out'}", f"paths.cache={tmp_path / 'cache'}") == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str}).set_index("id")
    split = pd.read_csv(tiny_runs[0] / "split.csv", dtype={"id": str})
    assert set(table.index) == set(split.loc[split["split"] == "train", "id"])
    # Not augmented: the same probabilities as when the loose files are predicted.
    files = predict_files(load_module(tiny_checkpoint), Photographs(list(table.index), table["path"].tolist()))
    np.testing.assert_allclose(table.filter(like="p_"), files.filter(like="p_"), atol=1e-5)


def test_unlabelled_photographs_get_predictions_only(
    tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path
) -> None:
    words = ["data=aptos", f"data.root={synthetic_aptos}", "split=predict", "num_workers=0"]
    place = [f"run_dir={tmp_path / 'out'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("evaluate", f"ckpt={tiny_checkpoint}", *words, *place) == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(table["id"]) == set(pd.read_csv(synthetic_aptos / "test.csv")["id_code"])
    assert table["target"].isna().all() and table["prediction"].between(0, 4).all()
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_the_users_faults_are_one_sentence_and_write_nothing(
    tiny_runs: list[Path],
    tiny_checkpoint: Path,
    synthetic_odir_course: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = f"run_dir={tmp_path / 'out'}"
    torn = tmp_path / "torn.ckpt"
    torn.write_bytes(tiny_checkpoint.read_bytes()[:5000])
    cases = [
        (["ckpt=nowhere.ckpt", out], "nowhere.ckpt does not exist"),
        ([f"ckpt={tmp_path}", out], "is no file"),
        ([f"ckpt={tiny_checkpoint}", "data.batch_size=4", out], "no data section without data="),
        ([f"ckpt={tiny_checkpoint}", "data=aptos", "data.preprocess.crop=none", out], "trained with crop=fov"),
        ([f"ckpt={torn}", out], "torn.ckpt"),
        ([f"ckpt={tiny_checkpoint}", "data=odir", f"data.root={synthetic_odir_course}", out], "dr_grade"),
        ([f"ckpt={tiny_checkpoint}", "split=validation", out], "valid: train, val, test, predict"),
        ([f"ckpt={tiny_checkpoint}", f"run_dir={tiny_runs[0]}"], "training run"),
        ([out], "ckpt"),
    ]
    for words, part in cases:
        assert command("evaluate", *words, f"paths.cache={tmp_path / 'cache'}") == 2, words
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said, (words, said)
    assert not (tmp_path / "out").exists()


def test_a_moved_run_still_evaluates_beside_itself(tiny_runs: list[Path], command: Command, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny_runs[1], moved)
    words = [f"ckpt={moved / 'checkpoints' / 'best.ckpt'}", "split=val", "num_workers=0"]
    assert command("evaluate", *words, f"paths.cache={tmp_path / 'cache'}") == 0
    (found,) = (moved / "evaluation").iterdir()
    assert found.name.startswith("aptos_val_") and (found / "metrics.json").exists()


def test_another_data_set_is_measured_though_its_training_part_lacks_a_class(
    tiny_checkpoint: Path,
    synthetic_idrid: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "idrid"
    shutil.copytree(synthetic_idrid, root)
    (labels,) = root.rglob("*Training Labels.csv")
    rows = [line.split(",") for line in labels.read_text().splitlines()]
    labels.write_text("\n".join(",".join([n, "2" if grade == "1" else grade, *rest]) for n, grade, *rest in rows))
    words = ["data=idrid", f"data.root={root}", "data.num_workers=0", f"paths.cache={tmp_path / 'cache'}"]
    assert command("evaluate", f"ckpt={tiny_checkpoint}", *words, f"run_dir={tmp_path / 'out'}", "accelerator=cpu") == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert 1 in set(table["target"]) and (tmp_path / "out" / "metrics.json").exists()
    capsys.readouterr()
    assert command("train", *words, f"run_dir={tmp_path / 'run'}", *SMALL_NETWORK) == 2
    assert "class mild (1) is absent from the training part of idrid" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
