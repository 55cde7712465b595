"""What a forked worker of a command does with a signal that its whole group gets."""

from __future__ import annotations

import os
import signal

import pytest

from retinai.run.signals import stoppable


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
