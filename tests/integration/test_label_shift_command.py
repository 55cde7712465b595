"""`retinai evaluate label_shift=true`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from retinai.modules.checkpoint import store_metadata

Command = Callable[..., int]


def test_shares_and_corrected_metrics_are_told(
    tiny_checkpoint: Path, synthetic_idrid: Path, command: Command, tmp_path: Path
) -> None:
    data = ["data=idrid", f"data.root={synthetic_idrid}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    words = [*data, "accelerator=cpu", "label_shift=true", f"run_dir={tmp_path / 'out'}"]
    assert command("evaluate", f"ckpt={tiny_checkpoint}", *words) == 0
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["label_shift"]
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    counts = np.array(torch.load(tiny_checkpoint, weights_only=True)["retinai"]["hparams"]["class_counts"])
    np.testing.assert_allclose(told["trained"], counts / counts.sum())
    np.testing.assert_allclose(told["true"], np.bincount(table["target"], minlength=5) / len(table))
    assert sum(told["estimated"]) == pytest.approx(1)
    assert told["before"]["accuracy"]["value"] == pytest.approx(accuracy_score(table["target"], table["prediction"]))
    weighted = table.filter(like="p_").to_numpy() * np.array(told["estimated"]) / np.array(told["trained"])
    assert told["after"]["accuracy"]["value"] == pytest.approx(accuracy_score(table["target"], weighted.argmax(axis=1)))
    assert "Other class shares than in the training" in (tmp_path / "out" / "report.html").read_text()


def test_what_has_no_such_shares_is_refused(
    tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weighted.ckpt"
    file.write_bytes(tiny_checkpoint.read_bytes())
    kept = torch.load(file, weights_only=True)["retinai"]["data"]
    store_metadata(file, "data", {**kept, "sampler": "weighted"})
    words = ["label_shift=true", f"run_dir={tmp_path / 'out'}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    for more, part in (([f"ckpt={file}"], "sampler=weighted"), (["prompts=dr_grades"], "")):
        assert command("evaluate", *more, *words) == 2
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said and not (tmp_path / "out").exists()
