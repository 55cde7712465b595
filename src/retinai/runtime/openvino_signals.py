"""Keeping the stack on which a process runs its signal handlers, which OpenVINO replaces.

The first use of the CPU in an `openvino.Core` gives the thread a signal stack of that core, and a core that is
destroyed puts back the one that it found: with two of them that may be one that was freed. The next signal that runs
on it, such as the end of a child process where PyTorch's loaders watch theirs, ends the process with a segmentation
fault.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def read_signal_stack() -> SignalStack | None:
    """Return this thread's signal stack; None where the system is not Linux, and OpenVINO leaves it alone."""
    if sys.platform != "linux":
        return None
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the thread its signal stack back at the end; a core that is destroyed later then restores nothing."""
    before = read_signal_stack()
    try:
        yield
    finally:
        if before is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
