"""What the queue of a cluster says of the jobs of a sweep."""

from __future__ import annotations

from retinai.sweeps.record import SweepRecord
from retinai.sweeps.states import InQueue


def ask_queue(sweep: SweepRecord) -> dict[str, InQueue] | None:
    """Return what the queue says of each job that was handed to it; None where it cannot be asked."""
    return None if sweep.submissions else {}
