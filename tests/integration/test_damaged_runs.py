"""One damaged file of a run costs its own row of `retinai runs` and `retinai report`, which tells the reason."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Command = Callable[..., int]
Change = Callable[[Any], Any]

PIPE, LOOP = object(), object()
RECORDS: dict[str, tuple[Any, str]] = {
    "truncated": (b'{"status": "fini', "not readable as JSON"),
    "empty": (b"", "not readable as JSON"),
    "no text": (b"\xff\xfe", "no text in UTF-8"),
    "nested": (b'{"a":' + b"[" * 100_000, "not readable as JSON"),
    "long number": (b'{"seconds": ' + b"9" * 5000 + b"}", "not readable as JSON"),
    "list": (b"[1, 2]", "no JSON object"),
    "number": (b"3", "no JSON object"),
    "text for metrics": (b'{"metrics": "good"}', "metrics is no object"),
    "text for a metric": (b'{"metrics": {"qwk": "good"}}', "qwk is no metric"),
    "text for a value": (b'{"metrics": {"qwk": {"value": "1", "low": 0, "high": 1}}}', "qwk is no metric"),
    "NaN": (b'{"best_score": NaN}', "best_score is no number"),
    "text for seconds": (b'{"seconds": "long"}', "seconds is no number"),
    "huge seconds": (b'{"seconds": 1' + b"0" * 400 + b"}", "seconds is no number"),
    "list for status": (b'{"status": ["finished"]}', "status is no text"),
    "a pipe": (PIPE, "a named pipe, not a file"),
    "a link to itself": (LOOP, "oo many levels of symbolic links"),
    "a folder": (None, "a folder, not a file"),
}


def put(path: Path, content: Any) -> None:
    """Write bytes, a named pipe, a link to itself, or for None a folder in the place of a file."""
    path.unlink(missing_ok=True)
    if content is PIPE:
        os.mkfifo(path)
    elif content is LOOP:
        path.symlink_to(path.name)
    elif content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(("content", "reason"), RECORDS.values(), ids=RECORDS)
def test_runs_lists_the_others(
    content: Any, reason: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    good = {"status": "[red]", "data": "aptos", "model": "m", "backbone": "b", "started": "2026-01-01T00:00:00"}
    (tmp_path / "good" / "run.json").write_text(json.dumps(good))
    put(tmp_path / "bad" / "run.json", content)
    assert command("runs", f"root={tmp_path}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 runs" in said and "[red]" in said and "aptos m b" in said and "damaged" in said
    assert all(word in said for word in reason.split()), said


def keep(rows: int) -> Change:
    return lambda content: b"\n".join(content.split(b"\n")[: 1 + rows]) + b"\n"


def edit(**changes: Any) -> Change:
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


def swap(old: bytes, new: bytes) -> Change:
    return lambda content: content.replace(old, new)


FILES: list[tuple[str, Any, str]] = [
    *((f"run.json {name}", *case) for name, case in RECORDS.items()),
    ("metrics.json cut", lambda content: content[:40], "not readable as JSON"),
    ("metrics.json list", b"[]", "no JSON object"),
    ("metrics.json missing", ..., "metrics.json is missing, though the run was tested"),
    ("metrics.json a link to itself", LOOP, "oo many levels of symbolic links"),
    ("metrics.json n", edit(n="many"), "n is no whole number"),
    ("metrics.json no photographs", edit(n=0), "n is no whole number above 0"),
    ("metrics.json decision rule", edit(decision_rule="dice"), "decision rule is unknown"),
    ("metrics.json list for a rule", edit(decision_rule=["argmax"]), "decision rule is unknown"),
    ("metrics.json task", edit(task={"name": "dr_grade"}), "its task is none"),
    ("metrics.json qwk", edit(qwk=0.5), "qwk is no metric"),
    ("config.yaml broken", b"a: [1", "config.yaml is not readable"),
    ("config.yaml list", b"- 1\n- 2\n", "config.yaml is not readable"),
    ("config.yaml no text", b"\xff", "config.yaml is not readable"),
    ("config.yaml pipe", PIPE, "config.yaml: a named pipe, not a file"),
    ("config.yaml references", b"a: &a [1]\nb: [*a, *a]\n", "holds references"),
    ("config.yaml nested", b"[" * 100_000, "config.yaml is not readable"),
    ("predictions.csv missing", ..., "predictions.csv: no such file"),
    ("predictions.csv empty", b"", "predictions.csv is empty"),
    ("predictions.csv header", keep(0), "holds 0 photographs"),
    ("predictions.csv half", keep(3), "holds 3 photographs"),
    ("predictions.csv bytes", bytes(range(256)), "predictions.csv is not readable"),
    ("predictions.csv ragged", lambda content: content + b"a,b\n", "has 2 cells"),
    ("predictions.csv columns", swap(b"p_mild", b"p_wild"), "lacks the columns p_mild"),
    ("predictions.csv probabilities", swap(b",0.", b",7."), "not from 0 to 1"),
    ("predictions.csv words", swap(b",0.", b",zero"), "predictions.csv is not readable"),
    ("predictions.csv sums", "sums", "do not add up to 1"),
    (
        "predictions.csv id twice",
        lambda content: content.replace(content.split()[2][:12], content.split()[1][:12]),
        "twice",
    ),
    ("predictions.csv unlabelled", "target", "holds no targets"),
]


def copy_of(run: Path, place: Path) -> Path:
    """Copy what a report reads of a run."""
    place.mkdir()
    for name in ("run.json", "metrics.json", "config.yaml", "predictions.csv"):
        shutil.copy(run / name, place / name)
    return place


@pytest.mark.parametrize(("case", "change", "reason"), FILES, ids=[case for case, _, _ in FILES])
def test_report_compares_the_others(
    case: str,
    change: Any,
    reason: str,
    tiny_runs: list[Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = copy_of(tiny_runs[0], tmp_path / "bad")
    file = bad / case.split()[0]
    if change is ...:
        file.unlink()
    elif change == "sums":
        pd.read_csv(file).assign(p_mild=0.9, p_severe=0.9).to_csv(file, index=False)
    elif change == "target":
        pd.read_csv(file).assign(target=None).to_csv(file, index=False)
    else:
        put(file, change(file.read_bytes()) if callable(change) else change)
    words = [bad, *tiny_runs, "resamples=20", f"out={tmp_path / 'out'}"]
    assert command("report", *words, "metrics=[qwk]") == 0
    table = pd.read_csv(tmp_path / "out" / "report.csv")
    assert table["kind"].tolist() == ["run", "run", "mean", "pooled", "damaged"]
    assert reason in table["problem"].iloc[-1] and table["problem"].notna().sum() == 1
    for page in ("report.md", "report.html"):
        assert str(bad) in (tmp_path / "out" / page).read_text()
    capsys.readouterr()
    assert command("report", *words, f"against={bad}", "overwrite=true") == 2
    assert "cannot be compared with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"status": "finished", "model": "token_reconstruction"}, "has finished without test predictions"),
        ({"status": "finished", "model": "token_reconstruction"}, "token_reconstruction makes none"),
        ({"status": "failed"}, "has not finished (failed)"),
        ({}, "has not finished (its status is not known)"),
    ],
)
def test_a_run_without_test_predictions_is_told_as_what_it_is(
    record: dict[str, str], told: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert command("report", tmp_path / "run", f"out={tmp_path / 'out'}") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "told"), [("file", "is no folder"), ("none", "does not exist")])
def test_a_root_that_holds_no_runs_is_told_as_what_it_is(
    name: str, told: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert command("runs", f"root={tmp_path / name}") == 2
    assert f"root={tmp_path / name} {told}" in capsys.readouterr().err


def test_a_report_of_damaged_runs_alone_is_refused(
    command: Command, tiny_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = copy_of(tiny_runs[0], tmp_path / "bad")
    (bad / "predictions.csv").unlink()
    assert command("report", bad, f"out={tmp_path / 'out'}") == 2
    assert "none of the runs can be compared" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_run_says_of_itself_does_not_command_the_terminal(
    command: Command, tiny_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = copy_of(tiny_runs[0], tmp_path / "bad")
    record = json.loads((bad / "run.json").read_text())
    (bad / "run.json").write_text(json.dumps({**record, "data": "a\x1b[2J\nb", "model": "m\x07"}))
    assert command("runs", f"root={bad}") == 0
    assert command("report", bad, f"out={tmp_path / 'out'}", "resamples=10") == 0
    said = capsys.readouterr().out + (tmp_path / "out" / "report.md").read_text()
    assert "\x1b" not in said and "\x07" not in said and "a\\x1b[2J b" in said
