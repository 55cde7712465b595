"""What a job of a SLURM sweep does with SIGTERM: nothing, until SLURM ends it and puts it back in the queue."""

from __future__ import annotations

import os
import signal
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer

from retinai.log import logger


class GoOnAtSigterm(Callback):
    """Lets a training go on when SIGTERM comes.

    SLURM sends it to a job whose place another job takes, some time (GraceTime) before it ends the job and puts it back
    in the queue. Lightning would end the training with exit code 0 at once, and SLURM would take that for a job that
    has finished. submitit bypasses the signal for the same reason, but Lightning's handler is called besides.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which is there from now on; Lightning puts the former one back."""
        owner = os.getpid()

        def go_on(signum: int, frame: FrameType | None) -> None:
            if os.getpid() != owner:  # a forked worker, which its parent ends
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
                return
            logger.info("SIGTERM: the training goes on until SLURM ends the job; every whole epoch is kept")

        signal.signal(signal.SIGTERM, go_on)


def for_this_job() -> list[Callback]:
    """Return the callback where this process is a job that submitit handed to SLURM; none elsewhere."""
    return [GoOnAtSigterm()] if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else []
