"""Going on from `last.ckpt`: what does not fit the run is one sentence, whatever Lightning makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Callback, LightningModule, Trainer

from retinai.errors import CheckpointError, UserError


class Restoring(Callback):
    """Notes that everything was taken up again, and looks at what Lightning takes up without a look.

    Args:
        checkpoint: `last.ckpt` of the run; None for a run that begins.
    """

    def __init__(self, checkpoint: str | None) -> None:
        self.checkpoint = checkpoint
        self.done = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the length of the schedule, which PyTorch takes from the checkpoint, with that of the run."""
        for config in trainer.lr_scheduler_configs if self.checkpoint else ():
            length = getattr(config.scheduler, "total_steps", None)
            if length is not None and length < trainer.estimated_stepping_batches:
                raise CheckpointError(
                    f"{self.checkpoint} is of a run of {length} steps, and the run's config.yaml asks for "
                    f"{trainer.estimated_stepping_batches:g} now: a run goes on as it began, with its own "
                    "trainer.max_epochs and data.batch_size; begin another run_dir= from its weights with +init=ckpt "
                    f"init.path={self.checkpoint}"
                )
        self.done = True

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong while the run takes up its checkpoint again into one sentence.

        Raises:
            CheckpointError: If the states of optimisers, schedules, loops or callbacks are not those of this run.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # Lightning and PyTorch read the states without a check of their own
            if self.done or self.checkpoint is None:
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise CheckpointError(
                f"{self.checkpoint} holds other states of training than this run has ({type(error).__name__}: "
                f"{reason}), so it cannot go on from there; copy the run again, or begin another run_dir= from its "
                f"weights with +init=ckpt init.path={self.checkpoint}"
            ) from error
