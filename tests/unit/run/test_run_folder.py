"""Where a run goes, and what `run.json` says of how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.config.compose import compose
from retinai.errors import UserError
from retinai.run import folder as run_folder
from retinai.run import lock, run_records
from retinai.run.record_writer import recording


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    cfg = compose("train", [f"paths.outputs={tmp_path}"])
    wanted = tmp_path / "synthetic" / "classifier" / "efficientnet_lite0" / "same-second"
    assert run_folder.choose_run_folder(cfg).parent == wanted.parent
    with run_folder.open_run_folder(wanted, cfg) as first, run_folder.open_run_folder(wanted, cfg) as second:
        pass
    assert [first.name, second.name] == ["same-second", "same-second-2"]
    assert (second / "config.yaml").exists()


def test_a_run_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with recording(tmp_path, seed=0):
        pass
    with pytest.raises(UserError, match="resume=true"):
        run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}"]))
    assert run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}", "resume=true"])) == tmp_path


@pytest.mark.parametrize("name", ["config.yaml", "split.csv", "metrics.csv", "checkpoints", "report.html"])
def test_files_of_others_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name}, which a run would replace"):
        run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}"]))
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda place: place.symlink_to("/nowhere")])
def test_what_stands_in_the_place_of_the_lock_is_told(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / ".lock")
    with pytest.raises(UserError, match="is no file, so that no lock can be held"):
        run_folder.choose_run_folder(compose("train", [f"run_dir={tmp_path}"]))


def test_what_stands_in_the_place_of_another_lock_names_the_key_that_chose_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match="or choose another out="), lock.locked(tmp_path, "retinai embed", key="out"):
        pass


def test_what_a_run_leaves_that_was_killed_before_its_record_is_replaced(tmp_path: Path) -> None:
    cfg = compose("train", [f"run_dir={tmp_path}"])
    with run_folder.open_run_folder(run_folder.choose_run_folder(cfg), cfg):
        (tmp_path / "split.csv").write_text("id,split\n")
    assert run_folder.choose_run_folder(cfg) == tmp_path


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
        with recording(tmp_path, seed=3) as late:
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


def test_a_folder_that_another_process_holds_is_refused_until_that_process_ends(tmp_path: Path) -> None:
    """Also when both have passed the first look, since neither had made the folder then."""
    hold = f"""if True:
        import pathlib, sys
        from retinai.run.lock import locked
        with locked(pathlib.Path({str(tmp_path)!r})):
            print("held", flush=True)
            sys.stdin.read()"""
    cfg = compose("train", [f"run_dir={tmp_path}"])
    assert run_folder.choose_run_folder(cfg) == tmp_path
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        refused = pytest.raises(UserError, match=rf"in use by another training \(process {holder.pid} on .*run_dir=")
        with refused, run_folder.open_run_folder(tmp_path, cfg):
            pass
        with refused:
            run_folder.choose_run_folder(cfg)
        assert not (tmp_path / "config.yaml").exists()
        holder.kill()
    with run_folder.open_run_folder(tmp_path, cfg) as folder:
        assert (folder / "config.yaml").exists()


def test_a_run_that_came_and_went_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    cfg = compose("train", [f"run_dir={tmp_path}"])
    folder = run_folder.choose_run_folder(cfg)
    with recording(tmp_path, seed=0):
        pass
    with pytest.raises(UserError, match="already holds a run"), run_folder.open_run_folder(folder, cfg):
        pass
