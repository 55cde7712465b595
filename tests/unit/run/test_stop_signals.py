"""What a forked worker of a command does with a signal that its whole group gets."""

from __future__ import annotations

import os
import signal
import time

import pytest

from retinai.run import signals
from retinai.run.signals import stoppable


def test_ctrl_c_in_the_middle_of_a_fork_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stoppable() as stop, monkeypatch.context() as patch:
            patch.setattr(signals, "_FORKING", [True])
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum is None
            signals._FORKING.clear()
            with pytest.raises(KeyboardInterrupt):
                time.sleep(10)
            assert stop.signum == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.parametrize(("signum", "ending"), [(signal.SIGINT, 7), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_worker_leaves_ctrl_c_to_its_parent_and_ends_with_sigterm(signum: signal.Signals, ending: int) -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stoppable() as stop:
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signum)
                os._exit(7)
            _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == ending and stop.signum is None
    finally:
        signal.signal(signal.SIGINT, former)
