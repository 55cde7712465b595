"""Signals while worker processes start: none of them ends with a traceback of its own."""

from __future__ import annotations

import os
import signal

import pytest

from retinai.data import parallel


def test_workers_leave_ctrl_c_to_their_parent() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert list(parallel.run_parallel(signal.getsignal, [signal.SIGINT], 1, None)) == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_waits_until_they_have_started(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: came.append("told"))
    try:
        with parallel._signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            came.append("started")
        assert came == ["started", "told"]
    finally:
        signal.signal(signal.SIGTERM, before)
