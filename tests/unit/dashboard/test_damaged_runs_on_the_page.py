"""A page about many runs: what is damaged costs its own part, and nothing of it reaches the page as code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_run

METRIC = {"value": 0.5, "low": 0.4, "high": 0.6}


def record(**more: Any) -> Callable[[Path], None]:
    return lambda run: _change(run / "run.json", more)


def metrics(**more: Any) -> Callable[[Path], None]:
    return lambda run: _change(run / "metrics.json", more)


def _change(file: Path, more: dict[str, Any]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def f1(value: Any, support: Any = 3) -> dict[str, Any]:
    return {"mild": {"f1": METRIC | {"value": value}, "support": support}}


DAMAGE: dict[str, Callable[[Path], None]] = {
    "choices that are a list": record(choices=[1]),
    "words that are a text": record(words="a=b"),
    "a seed that is no number": record(seed=float("nan")),
    "a seed that is an object": record(seed={"a": 1}),
    "a confusion matrix of NaN": metrics(confusion_matrix=[[float("nan")]]),
    "a confusion matrix that is a text": metrics(confusion_matrix="</script>"),
    "a confusion matrix of a label that is a text": metrics(confusion_matrix={"N": "</script>"}),
    "classes that are a list": metrics(per_class=[1]),
    "an F1 of 400 digits": metrics(per_class=f1(10**400)),
    "a support of NaN": metrics(per_class=f1(0.5, float("nan"))),
    "an endless epoch": lambda run: (run / "metrics.csv").write_text("epoch,val/qwk\ninf,0.5\n") and None,
    "a benchmark of a huge number": lambda run: (
        (run / "benchmark.json").write_text(
            '{"rows": [{"name": "x", "reason": "", "metric": "qwk", "value": 1%s, "network_ms": {"1": {"median": 1}}}]}'
            % ("0" * 400)
        )
        and None
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_it_costs_its_own_part(damage: str, tmp_path: Path, command: Callable[..., int]) -> None:
    write_run(tmp_path / "runs" / "whole")
    DAMAGE[damage](write_run(tmp_path / "runs" / "hurt"))
    assert command("dashboard", str(tmp_path / "runs"), f"out={tmp_path / 'page'}", "wandb=false") == 0
    page = (tmp_path / "page" / "dashboard.html").read_text()
    assert '"name":"whole"' in page and '"name":"hurt"' in page and "NaN" not in page.split('"runs":')[1][:3000]


def test_photographs_that_cannot_be_had_are_told(
    tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs" / "whole")  # without predictions
    out = tmp_path / "page"
    assert command("dashboard", str(tmp_path / "runs"), f"out={out}", "wandb=false", "photographs=3") == 0
    assert "no photographs of whole: " in capsys.readouterr().err and (out / "dashboard.html").exists()


def test_a_file_is_no_folder_of_runs(
    tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert command("dashboard", str(run / "run.json"), f"out={tmp_path / 'page'}") == 2
    assert "run.json is no folder" in capsys.readouterr().err and not (tmp_path / "page").exists()
