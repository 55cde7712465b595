"""The page as a clinic starts it: `retinai app` in a process of its own, found by what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Served:
    """A page that is being served.

    Args:
        url: Where it is.
        folder: The folder that it was started in; temporary files of it go to `tmp` there.
        seconds: From its start until it answered.
        process: It.
        said: What it wrote so far.
    """

    url: str
    folder: Path
    seconds: float
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def uploads(self) -> list[Path]:
        """Return the files with anything in them that it left in its temporary folder."""
        return [
            path for path in (self.folder / "tmp").glob("retinai-app-*/**/*") if path.is_file() and path.stat().st_size
        ]


@contextmanager
def served(
    python: Path, folder: Path, words: Sequence[str | Path], env: dict[str, str] | None = None
) -> Iterator[Served]:
    """Yield the page of `retinai app WORDS`, ended by Ctrl-C at the end."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment = clean | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"} | (env or {})
    command = [str(python), "-m", "retinai.cli", "app", *map(str, words)]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=_heed_ctrl_c,
    )  # fmt: skip
    said: list[str] = []
    address: list[str] = []
    told = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                address.append(found[0])
                told.set()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        assert told.wait(120) and address, "".join(said)
        yield Served(address[0], folder, time.monotonic() - began, process, said)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _heed_ctrl_c() -> None:
    # Tests that run in the background of a shell are started with Ctrl-C ignored, and so are their children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
