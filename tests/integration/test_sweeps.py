"""Sweeps (`-m`): one record, stable folders, faults told before any job begins, and going on with what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

from retinai.run.lock import LOCK

Command = Callable[..., int]
TINY = ["data=aptos", "data.num_workers=0", "data.limit=12", "data.batch_size=4",
        *SMALL_NETWORK, "backbone.input_size=24", "trainer=cpu",
        "trainer.max_epochs=1", "logger=none", "calibrate=false"]  # fmt: skip


@pytest.fixture
def words(synthetic_aptos: Path, tmp_path: Path) -> list[str]:
    """A sweep over two losses."""
    places = [f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}"]
    return [*TINY, f"data.root={synthetic_aptos}", *places]


def content(folder: Path, file: str = "sweep.json") -> dict:
    return json.loads((folder / file).read_text())


def test_a_failed_job_stops_no_other_and_is_all_that_the_second_call_begins(
    words: list[str], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, split = tmp_path / "outputs" / "sweeps" / "try", tmp_path / "split.csv"
    swept = [f"data.split_file=null,{split}", "sweep=try"]
    assert command("train", "-m", *words, *swept) == 2
    said = capsys.readouterr()
    assert f"1 of 2 jobs failed; once mended, -m sweep={sweep}" in said.err
    assert f"job 1 (data.split_file={split}): the split file" in said.err
    record = content(sweep)
    assert [job["number"] for job in record["jobs"]] == [0, 1]
    assert (
        record["jobs"][0]["folder"] == "0_split_filenull" and "data.split_file=null" in record["jobs"][0]["overrides"]
    )
    runs = [sweep / job["folder"] for job in record["jobs"]]
    assert [(run / "run.json").exists() for run in runs] == [True, False]
    assert [content(sweep, f"states/{n}.json")["status"] for n in range(2)] == ["finished", "failed"]
    page = (sweep / "report.html").read_text()
    assert "1 of 2 finished" in page and "does not exist" in page and "kappa" in page.lower()

    before = (runs[0] / "run.json").stat().st_mtime_ns
    split.write_bytes((runs[0] / "split.csv").read_bytes())
    assert command("train", "-m", "sweep=try", f"paths.outputs={tmp_path / 'outputs'}") == 0
    assert (runs[0] / "run.json").stat().st_mtime_ns == before
    assert [content(run, "run.json")["status"] for run in runs] == ["finished"] * 2
    assert "2 of 2 finished" in (sweep / "report.html").read_text()
    assert content(sweep) == record

    capsys.readouterr()
    assert command("runs", "sweep=try", f"paths.outputs={tmp_path / 'outputs'}") == 0
    assert capsys.readouterr().out.count("finished") == 2
    (sweep / "report.md").unlink()
    assert command("report", "try", f"paths.outputs={tmp_path / 'outputs'}", "resamples=10") == 0
    assert "split_file=null" in (sweep / "report.md").read_text()


def test_a_stopped_job_goes_on_and_ends_with_the_weights_of_a_run_in_one_piece(
    words: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from lightning import Trainer

    from retinai.callbacks.checkpoints import LastCheckpoint

    swept = [*words, "trainer.max_epochs=3", "seed=1,2", "test=false"]
    assert command("train", "-m", *swept, "sweep=whole") == 0
    saved = LastCheckpoint.on_train_epoch_end

    def stop(self: LastCheckpoint, trainer: Trainer, *args: object) -> None:
        saved(self, trainer, *args)
        if trainer.current_epoch == 1 and "0_seed1" in str(trainer.default_root_dir):
            raise SystemExit(143)

    with monkeypatch.context() as patched:
        patched.setattr(LastCheckpoint, "on_train_epoch_end", stop)
        assert command("train", "-m", *swept, "sweep=pieces") == 143
    sweeps = tmp_path / "outputs" / "sweeps"
    assert content(sweeps / "pieces", "states/0.json")["status"] == "interrupted"
    assert command("train", "-m", *swept, "sweep=pieces") == 0
    assert content(sweeps / "pieces" / "0_seed1", "run.json")["resumed"] == 1
    for job in ("0_seed1", "1_seed2"):
        whole, pieces = (
            torch.load(sweeps / name / job / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", "pieces")
        )
        assert all(torch.equal(whole[key], pieces[key]) for key in whole)


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (["data.folds=2", "data.fold=0,1,7"], "job 2 (data.fold=7)"),
        (["optimizer.lr=1e-3,fast"], "optimizer.lr"),
        (["loss=focal,focus"], "loss=focus: no such option"),
        (["seed=range(0,41)", "max_jobs=40"], "would start 41 jobs, and max_jobs=40 is the most"),
        (["optimizer.lr=interval(1e-5,1e-3)"], "add hydra/sweeper=optuna"),
        (["seed=glob(*)"], "seed=glob(*) stands for no value"),
        (["seed=1,2", "sweep=../up"], None),
        (["seed=1,2", "sweep=.hidden"], "is no name"),
        (["seed=1,2", "sweep=a", "run_dir=b"], "leave one of them out"),
        (["seed=1,2", "sweep=a", "resume=true"], "resume=true is not needed"),
        (["seed=1,2", "sweep=a,b"], "takes one value"),
        (["seed=1,2", "max_jobs=0"], "max_jobs"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_any_job_begins(
    words: list[str], swept: list[str], told: str | None, tmp_path: Path, command: Command,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    begun: list[object] = []
    monkeypatch.setattr("retinai.commands.train.run", begun.append)
    monkeypatch.chdir(tmp_path)
    if told is None:  # a path may lie anywhere
        assert command("train", "-m", *words, *swept) == 0 and len(begun) == 2
        return
    assert command("train", "-m", *words, *swept) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert not begun and not (tmp_path / "outputs").exists()


def test_a_sweep_of_other_words_or_in_use_is_refused(
    words: list[str], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("retinai.commands.train.run", lambda cfg: 0.5)
    assert command("train", "-m", *words, "seed=1,2", "sweep=one") == 0
    sweep = tmp_path / "outputs" / "sweeps" / "one"
    before = content(sweep)
    assert command("train", "-m", *words, "seed=1,2,3", "sweep=one") == 2
    assert "is a sweep of 2 jobs from other words" in capsys.readouterr().err
    assert content(sweep) == before
    assert command("train", *words, "sweep=one") == 2
    assert "add -m" in capsys.readouterr().err
    assert command("runs", "sweep=two", f"paths.outputs={tmp_path / 'outputs'}") == 2
    assert "there are: one" in capsys.readouterr().err
    (sweep / "sweep.json").write_text("{}")
    assert command("runs", "sweep=one", f"paths.outputs={tmp_path / 'outputs'}") == 2
    assert "sweep.json is not readable: name" in capsys.readouterr().err


def test_two_sweeps_of_one_name_at_once_are_refused(
    words: list[str], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "one"
    sweep.mkdir(parents=True)
    held = (
        f"import fcntl; f = open({str(sweep / LOCK)!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert command("train", "-m", *words, "seed=1,2", "sweep=one") == 2
        other.communicate(b"\n")
    assert "is in use by another sweep" in capsys.readouterr().err
    assert not (sweep / "sweep.json").exists()
