"""Reading uploads in processes of their own, with limits of time and memory.

Decoders are where files of strangers do harm: one that hangs, eats memory or kills its process costs one process,
which is ended and started anew, and the upload its grade.
"""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from retinai.app.upload import Upload, read_upload
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError

_READY = b"ready"
_Settings = tuple[Preprocessing, tuple[SampleField, ...], Preprocessing | None]
_MEMORY = 4 * 2**30  # bytes of address space; the largest photograph allowed needs less than one


class TooSlowError(UserError):
    """An upload whose reading took longer than allowed."""


class Readers:
    """Processes that read uploads.

    Args:
        preprocessing: How a photograph becomes the network's input.
        fields: What the network reads beside it.
        time_limit: Seconds that one upload may take.
        count: Number of processes.
        masks: How a photograph becomes the input of the network of masks; None where the model has none.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        fields: Sequence[SampleField],
        time_limit: float,
        count: int = 2,
        masks: Preprocessing | None = None,
    ) -> None:
        self._free: queue.Queue[_Reader] = queue.Queue()
        self._all = [_Reader((preprocessing, tuple(fields), masks), time_limit) for _ in range(count)]
        for reader in self._all:
            self._free.put(reader)

    def read(self, data: bytes) -> Upload:
        """Read an upload; waits while all processes are busy.

        Args:
            data: The bytes of the file.

        Raises:
            TooSlowError: If the time was over, or the process ended (most often for lack of memory).
            UserError: If a process that had to be ended cannot be started anew.
        """
        reader = self._free.get()
        try:
            return reader.read(data)
        finally:
            self._free.put(reader)

    def close(self) -> None:
        """End the processes."""
        for reader in self._all:
            reader.end()


class _Reader:
    """One process, started anew whenever it had to be ended."""

    def __init__(self, settings: _Settings, time_limit: float) -> None:
        self._settings = settings
        self._limit = time_limit
        self._turn = threading.Lock()
        self._closed = False
        self._start()

    def read(self, data: bytes) -> Upload:
        with self._turn:
            try:
                self._connection.send_bytes(data)
                if self._connection.poll(self._limit):
                    return Upload.from_bytes(self._connection.recv_bytes())
            except (EOFError, OSError):
                pass  # the process ended by itself
            self._restart()
        raise TooSlowError(f"reading the photograph took more than {self._limit:g} seconds or too much memory")

    def end(self) -> None:
        with self._turn:
            self._closed = True
            self._stop()

    def _start(self) -> None:
        # Spawned, not forked: a fork inherits the locks of threads (the server, OpenVINO) and may hang.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._settings), daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(60) or self._connection.recv_bytes() != _READY:
            raise UserError("a process that reads photographs did not start within a minute; start the page again")

    def _restart(self) -> None:
        self._stop()
        if not self._closed:
            self._start()

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(
    connection: Connection,
    preprocessing: Preprocessing,
    fields: tuple[SampleField, ...],
    masks: Preprocessing | None,
) -> None:
    """Answer uploads until the parent is gone, which ends the pipe."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    cv2.setNumThreads(1)
    _limit_memory()
    connection.send_bytes(_READY)
    while True:
        try:
            data = connection.recv_bytes()
        except (EOFError, OSError):  # the parent is gone, however it went
            return
        try:
            connection.send_bytes(read_upload(data, preprocessing, fields, masks).to_bytes())
        except (MemoryError, OSError):
            return  # told as an upload that needs too much, or nobody is left to be told


def _limit_memory() -> None:
    if sys.platform == "win32":
        return  # there the time is the only limit
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
