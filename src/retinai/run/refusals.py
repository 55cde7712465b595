"""What Lightning and PyTorch refuse while they train and the user can mend, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from retinai.errors import UserError

# How the errors begin that have no class of their own, and what to do; Lightning's own say it themselves.
_BATCH_NORM = "Expected more than 1 value per channel when training"
_NO_METRIC = "Early stopping conditioned on metric"


@contextmanager
def library_refusals_told() -> Iterator[None]:
    """Turn what the libraries refuse of a user's callbacks, trainer and batches into a sentence; a defect stays one.

    Raises:
        UserError: If Lightning finds callbacks or trainer misconfigured, or batch norm gets one value per channel.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"Lightning refuses the callbacks or the trainer: {_one_line(error)}") from error
    except RuntimeError as error:
        if not str(error).startswith(_NO_METRIC):
            raise
        raise UserError(f"Lightning refuses a callback: {_one_line(error)}") from error
    except ValueError as error:
        if not str(error).startswith(_BATCH_NORM):
            raise
        raise UserError(
            "batch norm cannot learn from one value per channel: the batches hold one photograph, whose features are "
            "one pixel at this input size; give a larger data.batch_size or backbone.input_size"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
