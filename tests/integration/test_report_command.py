"""`retinai report` and `retinai runs` on the folds of a real, tiny cross-validation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

Command = Callable[..., int]


def test_a_run_whose_folder_has_an_equals_sign_is_a_run(
    command: Callable[..., int], tiny_runs: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_runs[0], tmp_path / "lr=0.1", ignore=shutil.ignore_patterns("checkpoints"))
    assert command("report", tmp_path / "lr=0.1", tiny_runs[1], f"out={tmp_path / 'out'}", "resamples=10") == 0
    assert "lr=0.1" in (tmp_path / "out" / "report.csv").read_text()


def test_folds_are_grouped_with_mean_spread_and_pooled_metrics(
    tiny_runs: list[Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("report", *tiny_runs, f"out={tmp_path}", "resamples=200") == 0
    printed = capsys.readouterr().out
    markdown = (tmp_path / "report.md").read_text()
    assert markdown in printed and "mean of 2 runs" in markdown
    table = pd.read_csv(tmp_path / "report.csv").set_index("kind")
    assert table.index.tolist() == ["run", "run", "mean", "pooled"]
    each = [json.loads((run / "metrics.json").read_text()) for run in tiny_runs]
    accuracy = [metrics["accuracy"]["value"] for metrics in each]
    mean = table.loc["mean"]
    assert mean["accuracy"] == pytest.approx(np.mean(accuracy))
    assert mean["accuracy_sd"] == pytest.approx(np.std(accuracy, ddof=1), abs=1e-12)
    assert mean["accuracy_low"] == min(accuracy) and mean["accuracy_high"] == max(accuracy)
    both = pd.concat([pd.read_csv(run / "predictions.csv") for run in tiny_runs])
    pooled = table.loc["pooled"]
    assert pooled["n"] == len(both)
    assert pooled["qwk"] == pytest.approx(cohen_kappa_score(both["target"], both["prediction"], weights="quadratic"))
    assert pooled["accuracy_low"] <= pooled["accuracy"] <= pooled["accuracy_high"]
    assert "<table>" in (tmp_path / "report.html").read_text()


def test_other_settings_are_another_group(tiny_runs: list[Path], command: Command, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_runs[1], other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("input_size: 32", "input_size: 64"))
    assert command("report", tiny_runs[0], other, f"out={tmp_path / 'out'}", "format=[csv]") == 0
    assert pd.read_csv(tmp_path / "out" / "report.csv")["kind"].tolist() == ["run", "run"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.csv"]


def test_a_group_is_compared_with_another_photograph_by_photograph(
    tiny_runs: list[Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = []
    for run in tiny_runs:
        other = tmp_path / run.name
        other.mkdir()
        for name in ("run.json", "metrics.json"):
            shutil.copy(run / name, other / name)
        (other / "config.yaml").write_text((run / "config.yaml").read_text().replace("dropout: 0.2", "dropout: 0.4"))
        rows = pd.read_csv(run / "predictions.csv")
        rows["prediction"] = rows["target"]
        classes = [column for column in rows if column.startswith("p_")]
        rows[classes] = np.eye(len(classes))[rows["target"]]
        rows.iloc[::-1].to_csv(other / "predictions.csv", index=False)
        others.append(other)
    words = [*tiny_runs, *others, f"out={tmp_path / 'out'}", "metrics=[accuracy,qwk]", "resamples=200"]
    assert command("report", *words, f"against={tiny_runs[1]}") == 0
    table = pd.read_csv(tmp_path / "out" / "report.csv").set_index("kind")
    assert table.index.tolist() == ["run", "run", "mean", "pooled"] * 2 + ["difference"]
    pooled, difference = table.loc["pooled"], table.loc["difference"]
    assert difference["accuracy"] == pytest.approx(1 - pooled["accuracy"].iloc[0])
    assert difference["accuracy_low"] <= difference["accuracy"] <= difference["accuracy_high"]
    assert "auroc" not in table.columns
    assert "| **difference to " in capsys.readouterr().out
    assert command("report", *words, "against=elsewhere", "overwrite=true") == 2
    assert "none of the runs" in capsys.readouterr().err
    assert command("report", tiny_runs[0], others[1], f"out={tmp_path / 'no'}", f"against={tiny_runs[0]}") == 2
    assert "same photographs" in capsys.readouterr().err


def test_the_users_faults_are_one_sentence(
    tiny_runs: list[Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "run.json").write_text("{}")
    cases = [
        ([], "no runs given"),
        (["nowhere"], "nowhere"),
        ([torn], "metrics.json"),
        ([tiny_runs[0], "format=pdf"], "pdf"),
    ]
    for words, part in cases:
        assert command("report", *words, f"out={tmp_path / 'out'}") == 2
        assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_lists_the_newest_first(
    tiny_runs: list[Path], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command("runs", f"root={tiny_runs[0].parent}") == 0
    text = capsys.readouterr().out
    assert "2 runs" in text and text.count("finished") == 2 and "resnet18" in text
    assert command("runs", "root=nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
