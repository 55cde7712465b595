"""views= and dropout_samples= of evaluate and predict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from retinai.metrics.decisions import decide
from retinai.modules.checkpoint import store_metadata
from retinai.modules.load import load_module

Command = Callable[..., int]


def test_evaluate_and_predict_give_the_same_and_choose_points_anew(
    tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"ckpt={tiny_checkpoint}", "num_workers=0", "accelerator=cpu", f"paths.cache={tmp_path / 'cache'}",
             "views=flips", "dropout_samples=3"]  # fmt: skip
    assert command("evaluate", *words, f"run_dir={tmp_path / 'out'}") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "mean of 12 calibrated answers: 4 flips x 3 choices of dropped units" in said
    tested = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str}).set_index("id")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["uncertainty"]) == {"error_rate", "entropy", "mutual_information"}
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (record["views"], record["dropout_samples"], record["dropout_seed"]) == ("flips", 3, 0)
    assert record["model"] == "classifier" and record["backbone"] == "resnet18"
    images = f"images={Path(tested['path'].iloc[0]).parent}"
    assert command("predict", *words, images, f"out={tmp_path / 'grades.csv'}") == 0
    table = pd.read_csv(tmp_path / "grades.csv", dtype={"id": str}).set_index("id").loc[tested.index]
    numbers = [*table.filter(like="p_").columns, "entropy", "mutual_information"]
    np.testing.assert_allclose(table[numbers], tested[numbers], atol=1e-5)
    rule = load_module(tiny_checkpoint).decision_rule
    assert decide(table.filter(like="p_").to_numpy(), rule).tolist() == table["prediction"].astype(int).tolist()
    assert (table["mutual_information"] >= 0).all() and ("set_90" in table) == ("calibration" in metrics)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["views=turns"], "views"),
        (["dropout_samples=-1"], "dropout_samples"),
        (["dropout_samples=5"], "was trained with model.dropout=0"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], part: str, tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images = synthetic_aptos / "train_images"
    without = Path(shutil.copy(tiny_checkpoint, tmp_path / "without.ckpt"))
    kept = torch.load(without, weights_only=True)["retinai"]["hparams"]
    store_metadata(without, "hparams", {**kept, "dropout": 0.0})
    commands = [
        ["evaluate", f"run_dir={tmp_path / 'out'}"],
        ["predict", f"images={images}", f"out={tmp_path / 'out.csv'}"],
    ]
    for place in commands:
        assert command(*place, f"ckpt={without}", *words, "accelerator=cpu") == 2, place
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said and not list(tmp_path.glob("out*")), said


def test_an_exported_folder_and_text_prompts_are_asked_once(
    synthetic_aptos: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = [f"images={synthetic_aptos / 'train_images'}", f"out={tmp_path / 'out.csv'}"]
    for words in (["predict", "model=folder", *photographs], ["evaluate", "prompts=dr_grades"]):
        for more in ("views=flips", "dropout_samples=2"):
            assert command(*words, more) == 2
            assert "ask a checkpoint several times" in " ".join(capsys.readouterr().err.split())
