"""Jobs of a sweep that have no run folder are on the dashboard, too."""

from __future__ import annotations

from pathlib import Path

from written_runs import write_run

from retinai.dashboard.collect import collect
from retinai.sweeps.record import SweepJob, SweepRecord, write_sweep
from retinai.sweeps.states import note_state


def test_failed_and_waiting_jobs_have_their_row(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = [["loss=focal", "seed=0"], ["loss=corn", "seed=0"], ["loss=corn", "seed=1"]]
    jobs = [SweepJob(number=n, folder=str(n), overrides=own) for n, own in enumerate(words)]
    write_run(sweep / "0", qwk=0.5, words=("loss=focal", "seed=0"), seed=0)
    write_sweep(sweep, SweepRecord(name="sweep", created="2026-01-31T12:00:00+00:00", words=[], jobs=jobs))
    note_state(sweep, 1, status="failed", reason="the disk is full")
    found = {run["name"]: run for run in collect([tmp_path], tmp_path / "page").runs}
    assert [(found[str(n)]["status"], found[str(n)]["reason"]) for n in range(3)] == [
        ("finished", ""), ("failed", "the disk is full"), ("missing", ""),
    ]  # fmt: skip
    assert [found[str(n)]["settings"] for n in range(3)] == [
        {"loss": "focal", "seed": 0}, {"loss": "corn", "seed": 0}, {"loss": "corn", "seed": 1},
    ]  # fmt: skip
    assert found["2"]["link"] == ""


def test_a_seed_that_all_jobs_share_is_that_of_a_job_without_a_run(tmp_path: Path) -> None:
    jobs = [SweepJob(number=n, folder=str(n), overrides=[f"loss={loss}"]) for n, loss in enumerate(("focal", "corn"))]
    write_run(tmp_path / "0", qwk=0.5, words=("loss=focal",), seed=3)
    write_sweep(tmp_path, SweepRecord(name="sweep", created="2026-01-31T12:00:00+00:00", words=[], jobs=jobs))
    note_state(tmp_path, 1, status="failed", reason="the disk is full")
    assert collect([tmp_path], tmp_path / "page").varying == ["loss"]


def test_a_damaged_record_of_a_sweep_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "sweep.json").write_text("{}")
    collected = collect([tmp_path], tmp_path / "page")
    assert len(collected.runs) == 1 and "sweep.json is not readable" in collected.problems[0]
