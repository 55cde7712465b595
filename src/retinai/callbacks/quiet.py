"""Keep what Lightning says without need off the console; real warnings stay."""

from __future__ import annotations

import logging
import warnings

# Each is true of every run here and asks for nothing that a user should do.
_NEEDLESS = (
    r".*does not have many workers.*",  # the datamodule chooses the number, by cores and size
    r".*number of training batches .* is smaller than the logging interval.*",  # epochs are logged as well
    r".*Checkpoint directory .* exists and is not empty.*",  # so it is whenever a run is resumed
    r".*isinstance\(treespec, LeafSpec\).*",  # between Lightning and torch
    r".*Found .* module\(s\) in eval mode at the start of training.*",  # frozen norms are meant
    r".*`_register_pytree_node` is deprecated.*",
    r".*overridden `transfer_batch_to_device`.*",  # so that names and findings stay where they are
    r".*`srun` command is available on your system but is not used.*",  # a login node is no job
    r".*all_gather is deprecated.*",  # between Lightning and torch
)


def quiet_lightning() -> None:
    """Silence Lightning's hardware lines, tips and needless warnings, in this process."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NEEDLESS:
        warnings.filterwarnings("ignore", message=message)
