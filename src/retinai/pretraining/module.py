"""Token Reconstruction: an encoder learns to say of a corrupted photograph what it said of the whole one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.modules.batchnorm import _BatchNorm

from retinai.encoders.encoder import build_encoder
from retinai.errors import CheckpointError, ConfigError
from retinai.modules.base import BaseModule
from retinai.modules.checkpoint import KEY
from retinai.modules.divergence import stop_if_diverged
from retinai.modules.stages import Stage
from retinai.pretraining.collapse import effective_rank, spread
from retinai.pretraining.corruption import Corruption
from retinai.pretraining.network import Student
from retinai.pretraining.reference import Reference, fits
from retinai.pretraining.stages import Curves, EncoderFile, Reconstructions
from retinai.pretraining.tokens import Tokens, tokens_of

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule


class TokenReconstruction(BaseModule):
    """Adapts an encoder to photographs without labels.

    The loss is the mean over tokens and dimensions of (h(f(x~)) - f_ref(x))^2: f is the encoder that learns, h a
    residual head, f_ref the encoder as it was at the start, x~ the photograph with noise and with cells replaced by
    zeros after the first layer. The last photograph of each training batch stays whole. Of a network without tokens
    the cells of its feature map are the tokens. Batch normalisation keeps its statistics: student and reference
    measure photographs alike, and a whole photograph costs nothing at the start.

    Args:
        backbone: The `backbone` section; its weights are start and reference.
        noise: See `Corruption`.
        replaced: See `Corruption`.
        name: Name of the configuration.
        **options: Of `BaseModule`.

    Source: Engelmann & Bernabeu, "Training a high-performance retinal foundation model with half-the-data and 400
        times less compute" (RETFound-Green), Nature Communications 2025, and their training notebook.
    """

    def __init__(
        self,
        *,
        backbone: dict[str, Any],
        noise: float = 0.2,
        replaced: float = 1 / 3,
        name: str = "token_reconstruction",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.corruption = Corruption(float(noise), float(replaced))
        self.reference: Reference | None = None
        self._validated: dict[int, Tokens] = {}  # the reference's, by the number of the batch
        self._features: list[tuple[Tensor, Tensor]] = []  # of student and reference

    def build_network(self) -> nn.Module:
        """Return encoder and head."""
        return Student(build_encoder(self.hparams["backbone"]))

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that its start weights are the backbone's, since they are the reference too."""
        if cfg.get("init"):
            yield (
                "model=token_reconstruction starts from the weights of its backbone, which are its reference too; give "
                "backbone.weights=CHECKPOINT instead of +init="
            )

    @classmethod
    def check_data(cls, datamodule: FundusDataModule) -> None:
        """Refuse batches of one photograph: the last one of a batch stays whole."""
        if datamodule.batch_size < 2:
            raise ConfigError(["model=token_reconstruction needs data.batch_size=2 or more: one of each stays whole"])

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Take the reference, and tell which photographs are seen."""
        self.reference = Reference(self.network.encoder)
        counts = {part: len(datamodule.split_table(part)) for part in ("train", "val")}
        sets = datamodule.source.count_by_set(datamodule.split_table("train"))
        told = ", ".join(f"{name} {count}" for name, count in sets.items())
        rest = int((~datamodule.table["split"].isin(list(counts))).sum())
        return [
            *super().prepare_training(datamodule),
            f"pre-training sees the {counts['train']} training photographs ({told}), without their labels; "
            f"{counts['val']} of validation choose the epoch, {rest} others are not looked at",
        ]

    def stages(self) -> Sequence[Stage]:
        """Write the encoder, what it reconstructs, and its curves."""
        return (EncoderFile(), Reconstructions(), Curves())

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield what is corrupted."""
        yield "noise", f"{self.corruption.noise:g} of each channel's standard deviation"
        yield "replaced cells", f"up to {self.corruption.replaced:.0%} of each photograph"

    # Training.

    def train(self, mode: bool = True) -> TokenReconstruction:
        """Switch to training mode, but for batch normalisation, which keeps its statistics."""
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def on_fit_start(self) -> None:
        """Have the reference on the student's device, and its tokens of training photographs where they can be kept."""
        super().on_fit_start()
        reference = self._reference()
        reference.to(self.device)
        self._validated.clear()
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None:
            reference.keep_training(datamodule, self.device)

    def loss(self, images: Tensor, target: Tokens, clean: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of photographs, a scalar in float32.

        Args:
            images: Normalised photographs, (B, 3, S, S).
            target: The reference's tokens of them.
            clean: So many at the end of the batch stay whole.
            generator: Draws the corruption; None: the global one.
        """
        noisy = self.corruption.noisy(images, clean, generator)
        cells = self.corruption.cells(len(images), target.grid, images.device, clean, generator)
        return mse_loss(self.network(noisy, cells).values.float(), target.values.float())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch, its last photograph whole."""
        loss = self.loss(batch["image"], self._reference().kept_or_new(batch["image"], batch["id"]))
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["id"]),
                 sync_dist=True)  # fmt: skip
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted validation left."""
        self._features.clear()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss, all photographs corrupted in the same way in each epoch, and keep features of whole ones."""
        images = batch["image"]
        target = self._validated.get(batch_idx)
        if target is None:
            target = self._reference().tokens(images)
            if fits(target.values, len(images) * self._validation_batches()):
                self._validated[batch_idx] = target
        text = f"{self.seed}/validation/{batch_idx}/{self.global_rank}"
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))
        loss = self.loss(images, target, clean=0, generator=generator)
        stop_if_diverged(self, loss, "val/loss", batch_idx)
        self.log("val/loss", loss, on_epoch=True, prog_bar=True, batch_size=len(images), sync_dist=True)
        seen = tokens_of(self.network.encoder, images).pooled
        self._features.append((seen.float(), target.pooled.float()))

    def on_validation_epoch_end(self) -> None:
        """Log spread and rank of the features, each as a share of the reference's: near 0 is a collapse."""
        own, reference = (self._everywhere(torch.cat(parts)) for parts in zip(*self._features, strict=True))
        self._features.clear()
        if len(own) < 2:
            return
        self.log("val/feature_spread", spread(own) / max(spread(reference), 1e-12), sync_dist=True)
        self.log("val/feature_rank", effective_rank(own) / effective_rank(reference), sync_dist=True)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which reference it learned from."""
        super().on_save_checkpoint(checkpoint)
        if self.reference is not None:
            checkpoint[KEY]["reference"] = self.reference.sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another reference than the run began with."""
        super().on_load_checkpoint(checkpoint)
        began = checkpoint[KEY].get("reference")
        if self.reference is not None and began is not None and began != self.reference.sha256:
            raise CheckpointError(
                "the run began with other start weights than backbone.weights= gives now (SHA-256), and they are what "
                "it reconstructs; put the file back"
            )

    def _reference(self) -> Reference:
        if self.reference is None:
            raise ConfigError(["the reference is not there; call prepare_training(datamodule) before training"])
        return self.reference

    def _validation_batches(self) -> int:
        batches = self.trainer.num_val_batches
        return int(batches[0] if isinstance(batches, list) else batches)

    def _everywhere(self, values: Tensor) -> Tensor:
        """Return the rows of all processes."""
        if self.trainer.world_size == 1:
            return values
        gathered: Any = self.all_gather(values)
        return gathered.flatten(0, 1)
