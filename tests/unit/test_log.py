"""Who says what, where: results, notes and warnings, errors, and of several processes only the first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from retinai import log


def test_results_and_notes_go_their_own_ways(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up()  # a second time changes nothing
    place = f"/somewhere/[red]{'far/' * 60}run"
    log.logger.info(f"run folder: {place}")
    log.note("three photographs left out")
    log.logger.warning("this CPU has no VNNI")
    log.logger.warning("stopped (SIGTERM)", extra={"plain": True})
    log.logger.error("100 % wrong")
    said = capsys.readouterr()
    assert said.out == f"run folder: {place}\n"  # whole, however narrow the terminal, and markup is text
    assert said.err.splitlines() == [
        "note: three photographs left out",
        "warning: this CPU has no VNNI",
        "stopped (SIGTERM)",
        "error: 100 % wrong",
    ]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_was_closed_is_not_missed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"sys.{name}", None)
        log.logger.info("run folder: x")
        log.note("three photographs left out")
    said = capsys.readouterr()
    expected = {"stdout": ("", "note: three photographs left out\n"), "stderr": ("run folder: x\n", "")}
    assert (said.out, said.err) == expected[name]


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_of_several_processes_the_first_speaks(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "1")
    assert not log.is_first_process()
    log.logger.info("run folder: x")
    log.note("three photographs left out")
    log.logger.warning("stopped (SIGTERM)", extra={"plain": True})
    log.logger.error("a mask is missing")
    said = capsys.readouterr()
    assert said.out == "" and said.err == "error (process 1): a mask is missing\n"


def test_a_command_sets_it_up(tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (tmp_path / "none").mkdir()
    empty = run_cli("runs", f"root={tmp_path / 'none'}", cwd=tmp_path)
    assert empty.stdout.startswith("no runs below") and empty.stderr == ""
    wrong = run_cli("runs", "root=nowhere", cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.startswith("error: root=nowhere does")
