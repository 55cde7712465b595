"""Sweeps whose records were damaged: `runs sweep=` and `report` say what is left, or what is wrong."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retinai.errors import UserError

JOBS = [{"number": n, "folder": f"{n}_seed{n}", "overrides": [f"seed={n}"]} for n in range(2)]
RECORD: dict[str, Any] = {"name": "s", "created": "2026-01-01", "words": ["seed=0,1"], "jobs": JOBS}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of two jobs that have ended."""
    folder = tmp_path / "s"
    (folder / "states").mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps(RECORD))
    for number in range(2):
        (folder / "states" / f"{number}.json").write_text(json.dumps({"status": "finished", "score": 0.5}))
    return folder


def state(text: str) -> Callable[[Path], None]:
    return lambda sweep: (sweep / "states" / "0.json").write_text(text) and None


def both(sweep: Path, command: Callable[..., int], expected: int) -> None:
    assert command("runs", f"sweep={sweep}") == expected
    assert command("report", str(sweep), f"out={sweep.parent / 'r'}", "resamples=10") == expected


STATES = {
    "a score that is a text": '{"status": "finished", "score": "abc"}',
    "a score that is a list": '{"status": "finished", "score": [1]}',
    "a score of NaN": '{"status": "finished", "score": NaN}',
    "a score of 400 digits": '{"status": "finished", "score": 1%s}' % ("0" * 400),
    "a status that is a list": '{"status": [1]}',
    "a reason that is an object": '{"status": "failed", "reason": {"a": 1}}',
}


@pytest.mark.parametrize("damage", STATES)
def test_what_a_job_says_of_itself_costs_its_own_cell(
    damage: str, sweep: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    state(STATES[damage])(sweep)
    both(sweep, command, 0)
    assert "seed=1" in capsys.readouterr().out


RECORDS: dict[str, dict[str, Any]] = {
    "a number in the queue that is none": {"submissions": [{"submitted": "x", "ids": {"a": "1"}}]},
    "an id in the queue that is a command": {"submissions": [{"submitted": "x", "ids": {"0": "1; rm"}}]},
    "two jobs of one number": {"jobs": [JOBS[0], JOBS[0]]},
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_record_that_makes_no_sense_is_refused(
    damage: str, sweep: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "sweep.json").write_text(json.dumps(RECORD | RECORDS[damage]))
    both(sweep, command, 2)
    assert "sweep.json is not readable: " in capsys.readouterr().err


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, lambda place: place.symlink_to("/nowhere")])
def test_what_stands_in_the_place_of_a_record_is_no_absence(
    put: Callable[[Path], Any], sweep: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "sweep.json").unlink()
    put(sweep / "sweep.json")
    both(sweep, command, 2)
    assert capsys.readouterr().err.count(f"error: {sweep / 'sweep.json'}: ") == 2


JOURNALS: dict[str, Callable[[Path], Any]] = {
    "deep": lambda file: file.write_text("[" * 100_000 + "\n"),
    "binary": lambda file: file.write_bytes(b"\xff\x00\x01\n"),
    "other JSON": lambda file: file.write_text('{"a": 1}\n[]\n'),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "gone": lambda file: None,
}


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_study_is_reported_without_the_figures_of_a_damaged_journal(
    journal: str, sweep: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    from retinai.sweeps.space import as_texts, read_space

    words = ["optimizer.lr=interval(0.1,0.2)", "trainer=cpu", "logger=none"]
    space, fixed = read_space(words)
    study = {"space": as_texts(space), "fixed": fixed, "direction": "maximize"}
    (sweep / "sweep.json").write_text(json.dumps(RECORD | {"study": study, "words": words}))
    JOURNALS[journal](sweep / "study.journal")
    both(sweep, command, 0)
    said = capsys.readouterr().err
    assert "no figures of the study: " in said and "study.journal" in said
    assert (sweep / "study.journal").exists() == (journal != "gone")  # nothing is made by a look at it
    again = ["-m", f"study={sweep}", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"]
    assert command("train", *again) == 2
    said = capsys.readouterr().err
    assert "study.journal" in said and "Traceback" not in said


def test_jobs_that_could_not_even_note_their_state_are_told(
    tmp_path: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise UserError("the disk is full: 0.json could not be written")

    monkeypatch.setattr("retinai.sweeps.states.write_json", full)
    words = ["-m", "seed=0,1", "sweep=s", "trainer=cpu", "logger=none", f"paths.outputs={tmp_path / 'outputs'}"]
    assert command("train", *words) == 2
    said = capsys.readouterr().err
    assert "2 of 2 jobs failed" in said and "job 1 (seed=1): the disk is full" in said and "Traceback" not in said


def test_what_nobody_may_look_into_costs_its_own_cells(
    sweep: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = os.stat

    def forbidden(path: Any, *more: Any, **options: Any) -> os.stat_result:
        if str(path).startswith((f"{sweep}/states", f"{sweep}/0_")):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return looked(path, *more, **options)

    monkeypatch.setattr(os, "stat", forbidden)
    both(sweep, command, 0)
    assert "seed=0" in capsys.readouterr().out


def test_a_sweep_that_may_only_be_read_can_be_looked_at(
    sweep: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep / ".lock").write_text("process 1")
    opened = Path.open

    def reading_only(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if path.is_relative_to(sweep) and set(mode) & set("aw+x"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", reading_only)
    both(sweep, command, 0)
