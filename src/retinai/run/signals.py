"""Signals that end a command: SIGTERM as tidily as Ctrl-C, each with the exit code that shells expect."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# Holds something while this process forks a worker. Registered after the hooks of `logging`, so first and last of them.
_FORKING: list[bool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _FORKING.append(True), after_in_parent=_FORKING.clear, after_in_child=_FORKING.clear
    )


class Stopped(SystemExit):
    """Raised where a SIGTERM arrives, so that temporary files are removed on the way out; its code is 143."""


@dataclass
class Stop:
    """What a command was stopped by.

    Attributes:
        signum: The signal; None while there was none.
    """

    signum: int | None = None

    @property
    def code(self) -> int:
        """The exit code: 128 and the signal's number, 130 for Ctrl-C and 143 for SIGTERM."""
        return 128 + int(self.signum or 0)

    @property
    def reason(self) -> str:
        """What happened, in words."""
        return "interrupted (Ctrl-C)" if self.signum == signal.SIGINT else "stopped (SIGTERM)"


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn SIGTERM into `Stopped` and note which signal came; former handlers are put back at the end.

    Lightning keeps a handler that it finds and calls it after its own, which passes SIGTERM on to the other
    processes of a DDP run. A signal that the caller ignores (`nohup`, a background job) stays ignored.

    Yields:
        What came so far.
    """
    stop, owner = Stop(), os.getpid()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker
            if signum == signal.SIGINT:
                return  # a terminal sends it to the workers too; it is their parent that ends them, without a word
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if _FORKING:  # what is raised between a fork's hooks is printed and lost, so it comes again a moment later
            threading.Timer(0.05, os.kill, (owner, signum)).start()
            return
        stop.signum = stop.signum or signum
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(stop.code)

    former = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    for signum, handler in former.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(signum, handle)
    try:
        yield stop
    finally:
        for signum, handler in former.items():
            if handler is not None:
                signal.signal(signum, handler)
