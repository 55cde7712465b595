"""SIGTERM, Ctrl-C, `kill -9` and a second run in the same folder, while `retinai train` works."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]


def words(root: Path, tmp_path: Path) -> list[str]:
    """Words of a training that would take very long."""
    return [
        "train", "data=aptos", f"data.root={root}", "data.num_workers=1", "data.batch_size=2",
        *SMALL_NETWORK, "backbone.input_size=24", "trainer=cpu",
        "trainer.max_epochs=1000", "logger=none", "test=false", "calibrate=false", f"run_dir={tmp_path / 'a run'}",
        f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip


def changes(file: Path, alive: Callable[[], bool]) -> bool:
    """Wait until a file is written, anew if it is there; return whether it was."""

    def state() -> int | None:
        return file.stat().st_mtime_ns if file.exists() else None

    before, deadline = state(), time.monotonic() + 120
    while state() == before and alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return state() != before


def send_while_training(signum: signal.Signals, run: Path) -> threading.Thread:
    """Send a signal to this process as soon as a checkpoint of the training in it is written."""
    main = threading.main_thread()

    def send() -> None:
        if changes(run / "checkpoints" / "last.ckpt", main.is_alive):
            os.kill(os.getpid(), signum)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C reach the test also where the whole suite runs in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_stopped_training_says_how_it_goes_on(
    synthetic_aptos: Path,
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    signum: signal.Signals,
    code: int,
) -> None:
    run, handlers = tmp_path / "a run", [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    thread = send_while_training(signum, run)
    assert command(*words(synthetic_aptos, tmp_path)) == code
    thread.join()
    error = capsys.readouterr().err
    found = re.search(r"the run can go on with: python train\.py (.*)", error)
    assert found and shlex.split(found[1]) == ["resume=true", f"run_dir={run}"], error
    assert "Traceback" not in error
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert not list(run.rglob(".*.ckpt"))
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_of_two_processes_one_says_that_they_were_stopped(synthetic_aptos: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1000"]
    arguments = [word for word in words(synthetic_aptos, tmp_path) if not word.startswith("trainer")]
    process = subprocess.Popen(
        [sys.executable, "-m", "retinai.cli", *arguments, *two],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert changes(run / "checkpoints" / "last.ckpt", lambda: process.poll() is None)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error
    assert error.count("stopped (SIGTERM)") == 1 and error.count("the run can go on with") == 1, error


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_in_an_import_that_makes_another_error_of_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(cfg: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:  # as the C code of OpenVINO does
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("retinai.commands.runs.run", interrupted)
    assert command("runs", f"root={tmp_path}") == 130
    error = capsys.readouterr().err
    assert error.endswith("interrupted (Ctrl-C)\n") and "Traceback" not in error


def test_a_second_training_in_the_folder_is_refused_and_a_killed_one_leaves_no_lock(
    synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run, arguments = tmp_path / "a run", words(synthetic_aptos, tmp_path)
    first = forked.start("from retinai.cli import main; main()", arguments)
    try:
        assert changes(run / "checkpoints" / "last.ckpt", first.is_alive)
        for more in (["resume=true"], []):
            assert command(*arguments, *more) == 2
            assert f"is in use by another training (process {first.pid} on " in capsys.readouterr().err
    finally:
        first.kill()  # its loader's worker may live on for some seconds
        first.join()
    thread = send_while_training(signal.SIGTERM, run)
    assert command("train", "resume=true", f"run_dir={run}") == 143
    thread.join()
    assert "resume: going on from" in capsys.readouterr().out
    assert json.loads((run / "run.json").read_text())["resumed"] == 1
