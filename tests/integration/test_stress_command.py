"""`retinai stress`: the photographs as they are have the metrics of `retinai evaluate`, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


def test_the_command(
    tiny_checkpoint: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tiny_checkpoint.parents[2]
    places = [f"ckpt={tiny_checkpoint}", f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}",
              "accelerator=cpu"]  # fmt: skip
    words = ["severities=[2,5]", "angles=[180]", "resamples=50"]
    assert command("stress", *places, *words, f"run_dir={tmp_path / 'stress'}") == 0
    told = capsys.readouterr().out
    assert command("evaluate", *places, f"run_dir={tmp_path / 'plain'}") == 0
    content = json.loads((tmp_path / "stress" / "stress.json").read_text())
    metrics = json.loads((tmp_path / "plain" / "metrics.json").read_text())
    assert content["variants"][0]["value"] == metrics["qwk"]["value"] and content["metric"] == "qwk"
    table = pd.read_csv(tmp_path / "stress" / "variants.csv")
    assert len(table) == 1 + 10 * 2 + 1 and table.loc[0, "changed"] == 0 and table.loc[0, "divergence"] == 0
    assert set(table["n"] + table["refused"]) == {metrics["n"]}
    if metrics["qwk"]["value"] > 0:
        assert {"rotation", "haze", "jpeg", "colour"} <= set(content["retention"]) and "kept on average" in told
    else:
        assert content["retention"] == {} and "is not defined, since it is not above 0" in told
    assert {row["grouping"] for row in content["groups"]} <= {"eye", "size", "quality"}
    assert (tmp_path / "stress" / "stress.png").read_bytes().startswith(b"\x89PNG")
    assert command("stress", *places, *words, f"run_dir={tmp_path / 'stress'}") == 2
    assert "overwrite=true" in capsys.readouterr().err
