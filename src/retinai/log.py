"""What retinai says: the logger `retinai`, which the command line shows as plain sentences.

Results (level INFO) go to standard output, where programs may read them; notes, warnings and errors go to standard
error with that word before them. Of several processes that train one run (DDP) only the first speaks; an error is told
by each process that meets one, since another may not meet it. A program that imports retinai adds handlers of its own,
as with any Python package, or calls `set_up`.
"""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from typing import Any

logger = logging.getLogger("retinai")
NOTE = 25  # what a user should know and need not act on; between INFO and WARNING
_WORDS = {NOTE: ("note", "cyan"), logging.WARNING: ("warning", "yellow"), logging.ERROR: ("error", "bold red")}


def note(sentence: str) -> None:
    """Tell what a user should know of a run and need not act on."""
    logger.log(NOTE, sentence)


def printable(text: str) -> str:
    r"""Return a text without the control characters that a terminal obeys, such as `\x1b`; line feeds and tabs stay.

    Files of others are quoted in messages, and what they say must not clear the screen or hide a line.
    """
    hidden = ("Cc", "Cf", "Cs")  # control characters, those that turn the direction of writing, halves of characters
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) in hidden and c not in "\n\t" else c for c in text)


def is_first_process() -> bool:
    """Return whether this process is the only one of its run, or the first of several (DDP)."""
    return _rank() == 0


def set_up() -> None:
    """Let the logger `retinai` speak on the terminal; calling it again changes nothing."""
    logger.setLevel(logging.INFO)
    logger.propagate = False  # whatever the root logger does would say it twice
    logger.disabled = False
    if not any(isinstance(handler, PlainHandler) for handler in logger.handlers):
        logger.addHandler(PlainHandler())


class PlainHandler(logging.Handler):
    """Writes sentences with rich: no time stamps, no line breaks of its own, colours on a terminal only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message; `extra={"plain": True}` leaves out the word before it."""
        if not is_first_process() and record.levelno < logging.ERROR:
            return
        name = "stdout" if record.levelno < NOTE else "stderr"
        if getattr(sys, name) is None:  # it was closed before the program began: `retinai runs >&-`
            return
        try:
            from rich.console import Console
            from rich.text import Text

            stream: Any = _Standard(name)
            text = Text()
            word, style = _WORDS.get(record.levelno, ("", ""))
            if word and not getattr(record, "plain", False):
                text.append(word if is_first_process() else f"{word} (process {_rank()})", style)
                text.append(": ")
            text.append(printable(record.getMessage()))
            Console(file=stream).print(text, soft_wrap=True)
        except Exception as error:
            if name == "stdout" and isinstance(error, OSError):
                raise  # a result that is lost ends the command, as with `print`
            self.handleError(record)


class _Standard:
    """The standard stream of the moment: tests, notebooks and progress bars put others in its place."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        # rich would write past the stand-in of a progress bar, into the bar; the stand-in writes above it.
        if name == "rich_proxied_file":
            raise AttributeError(name)
        return getattr(getattr(sys, self._name), name)


def _rank() -> int:
    return max(int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
