"""What Lightning and PyTorch refuse while they train and the user can mend, as sentences."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retinai.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

# How the errors begin that have no class of their own, and what to do; Lightning's own say it themselves.
_BATCH_NORM = "Expected more than 1 value per channel when training"
_NO_METRIC = "Early stopping conditioned on metric"


@contextmanager
def library_refusals_told(callbacks: Sequence[Callback] = ()) -> Iterator[None]:
    """Turn what the libraries refuse of a user's callbacks, trainer and batches into a sentence; a defect stays one.

    Args:
        callbacks: Of the run. Whatever is raised within one that is not retinai's own is about that callback.

    Raises:
        UserError: If Lightning finds callbacks or trainer misconfigured, a callback of the user's choice fails, or
            batch norm gets one value per channel.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except UserError:
        raise
    except MisconfigurationException as error:
        raise UserError(f"Lightning refuses the callbacks or the trainer: {_one_line(error)}") from error
    except Exception as error:  # a callback may raise anything; what is not about one goes on as it is
        sentence = _sentence(error, callbacks)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _sentence(error: Exception, callbacks: Sequence[Callback]) -> str | None:
    """Return what is told of an error that is no misconfiguration to Lightning; None for a defect."""
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_METRIC):
        return f"Lightning refuses a callback: {_one_line(error)}"
    if isinstance(error, ValueError) and str(error).startswith(_BATCH_NORM):
        return (
            "batch norm cannot learn from one value per channel: the batches hold one photograph, whose features are "
            "one pixel at this input size; give a larger data.batch_size or backbone.input_size"
        )
    failed = _failed_callback(error, callbacks)
    if failed is None:
        return None
    return (
        f"the callback {type(failed).__module__}.{type(failed).__qualname__} failed in this training "
        f"({type(error).__name__}: {_one_line(error)[:300]}); leave it out of callbacks=, or give it other values"
    )


def _failed_callback(error: Exception, callbacks: Sequence[Callback]) -> Callback | None:
    """Return the callback that is not retinai's own in whose method an error was raised; None if there is none."""
    foreign = {id(callback): callback for callback in callbacks if not type(callback).__module__.startswith("retinai.")}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        # `callback` is the name in Lightning's loop over them: one that does not take what it is called with.
        for name in ("self", "callback"):
            found = foreign.get(id(frame.f_locals.get(name)))
            if found is not None:
                return found
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
