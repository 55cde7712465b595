"""Networks in OpenVINO leave the process its signal stack: a signal that came later would have ended it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_graph_check import folder_with, graph

_SCRIPT = """
import faulthandler, gc, signal, subprocess, sys
from retinai.runtime import ExportedModel
from retinai.runtime.openvino_signals import read_signal_stack

faulthandler.enable()  # has a signal stack of its own
signal.signal(signal.SIGCHLD, lambda *_: None)  # as PyTorch's loaders do
before = read_signal_stack()
first, second = (ExportedModel(sys.argv[1], threads=1) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
memory = [bytes(16384) for _ in range(1000)]
subprocess.run([sys.executable, "-c", ""], check=True)
after = read_signal_stack()
print(before.start == after.start, before.size == after.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="OpenVINO replaces the signal stack on Linux only")
def test_networks_that_come_and_go_leave_the_signal_stack_alone(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "folder", graph(), "openvino")
    done = subprocess.run([sys.executable, "-c", _SCRIPT, folder], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr
