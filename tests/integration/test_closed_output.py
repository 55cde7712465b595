"""Standard output that nobody reads, or that has no room: no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [["--help"], ["train", "--help"], ["runs", "root=."]]


def run(words: list[str], output: int, folder: Path) -> tuple[int, str]:
    """Run a command in a process of its own, as the streams of this one are the tests'."""
    line = [sys.executable, "-m", "retinai.cli", *words]
    done = subprocess.run(line, stdout=output, stderr=subprocess.PIPE, text=True, cwd=folder, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_pipe_that_nobody_reads(words: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code, said = run(words, writer, tmp_path)
    os.close(writer)
    assert (code, said) == (141, "") or (code, said) == (1, ""), said  # 1: rich met it first


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = run(words, full.fileno(), tmp_path)
    assert code == 2, said
    assert said == "error: the disk is full: what the command writes or says could not be written; free some space\n"
