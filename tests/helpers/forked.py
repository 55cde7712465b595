"""A process of its own for what ends it, without the seconds that a new interpreter takes to import PyTorch."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

# A process with threads of CUDA cannot be copied; where there is a GPU, a new one imports what it needs.
_WAY = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")


def start(code: str, arguments: Sequence[str], output: Path = Path(os.devnull)) -> BaseProcess:
    """Start a copy of this process that runs code as `python -c CODE ARGUMENTS` does; what it says goes to a file."""
    process = _WAY.Process(target=_run, args=(code, list(arguments), output))
    process.start()
    return process


def finish(code: str, arguments: Sequence[str], seconds: float = 300) -> tuple[int, str]:
    """Run code in a process of its own to its end; return its exit code, or minus its signal, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        process = start(code, arguments, output)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, output.read_text() if output.exists() else ""


def _run(code: str, arguments: list[str], output: Path) -> None:
    with output.open("w", buffering=1) as said, redirect_stdout(said), redirect_stderr(said):
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})
