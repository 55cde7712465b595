"""Going on from `last.ckpt`: what does not fit the run is one sentence, whatever Lightning makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Callback, LightningModule, Trainer

from retinai.errors import CheckpointError, UserError


class _Restored(Callback):
    """Notes that everything was taken up again, and looks at what Lightning takes up without a look."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.done = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the length of the schedule, which PyTorch takes from the checkpoint, with that of the run."""
        for config in trainer.lr_scheduler_configs:
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
def restoring(trainer: Trainer, checkpoint: str | None) -> Iterator[None]:
    """Turn what goes wrong while a run takes up its last checkpoint again into one sentence.

    Args:
        trainer: About to fit.
        checkpoint: `last.ckpt`; None for a run that begins.

    Raises:
        CheckpointError: If the states of optimisers, schedules, loops or callbacks are not those of this run.
    """
    if checkpoint is None:
        yield
        return
    restored = _Restored(checkpoint)
    trainer.callbacks.insert(0, restored)  # type: ignore[attr-defined]  # a connector of Lightning sets it
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Lightning and PyTorch read the states without a check of their own
        if restored.done:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{checkpoint} holds other states of training than this run has ({type(error).__name__}: {reason}), so it "
            "cannot go on from there; copy the run again, or begin another run_dir= from its weights with +init=ckpt "
            f"init.path={checkpoint}"
        ) from error
