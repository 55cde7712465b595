"""Where a run goes, and what `run.json` says of how it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retinai import run_folder, run_records
from retinai.config.compose import compose
from retinai.errors import UserError


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    cfg = compose("train", [f"paths.outputs={tmp_path}"])
    wanted = tmp_path / "synthetic" / "classifier" / "efficientnet_lite0" / "same-second"
    assert run_folder.choose_run_folder(cfg).parent == wanted.parent
    first, second = run_folder.open_run_folder(wanted, cfg), run_folder.open_run_folder(wanted, cfg)
    assert [first.name, second.name] == ["same-second", "same-second-2"]
    assert (second / "config.yaml").exists()


def test_a_run_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with run_folder.recording(tmp_path, seed=0):
        pass
    with pytest.raises(UserError, match="resume=true"):
        run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}"]))
    assert run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}", "resume=true"])) == tmp_path


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path / 'none'}", "resume=true"]))


def test_resuming_for_another_number_of_epochs_is_refused(tmp_path: Path) -> None:
    """A one-cycle schedule has an end; stepping beyond it was a traceback."""
    words = [f"run_dir={tmp_path}", "trainer.max_epochs=3"]
    with run_folder.recording(tmp_path, seed=0):
        run_folder.open_run_folder(tmp_path, compose("train", words))
    assert run_folder.choose_run_folder(compose("train", [*words, "resume=true"])) == tmp_path
    with pytest.raises(UserError, match=r"begun with trainer\.max_epochs=3.*given 5.*\+init=ckpt"):
        run_folder.choose_run_folder(compose("train", [words[0], "trainer.max_epochs=5", "resume=true"]))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(1), "interrupted"),
        (ValueError("too dark"), "failed"),
    ],
)
def test_the_record_says_how_a_run_ended(tmp_path: Path, error: BaseException | None, status: str) -> None:
    try:
        with run_folder.recording(tmp_path, seed=3) as late:
            assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
            late["best_score"] = 0.5
            if error:
                raise error
    except (KeyboardInterrupt, SystemExit, ValueError):
        pass
    record = run_records.read_record(tmp_path)
    assert record["status"] == status
    assert record["seed"] == 3
    assert record["best_score"] == 0.5
    assert record["versions"]["torch"]
    assert record.get("reason") == ("too dark" if status == "failed" else None)


def test_runs_are_found_newest_first(tmp_path: Path) -> None:
    for name, started in (("old", "2026-01-01T00:00:00"), ("new", "2026-02-01T00:00:00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"status": "finished", "started": started}))
    assert [Path(run["folder"]).name for run in run_records.find_runs(tmp_path)] == ["new", "old"]
    with pytest.raises(UserError, match="does not exist"):
        run_records.find_runs(tmp_path / "missing")


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is not readable"):
        run_records.read_record(tmp_path)
