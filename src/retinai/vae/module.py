"""`model=vae`: learns to make up photographs, of one class or of a class that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from retinai.errors import ConfigError, DataError
from retinai.modules.base import BaseModule
from retinai.modules.stages import Stage
from retinai.tasks.task import Task
from retinai.vae.network import Vae, divergence
from retinai.vae.stage import Judge

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

# Fewer photographs of a class are learned by heart.
_FEWEST = 2


class PhotographVae(BaseModule):
    """A variational autoencoder of photographs as they are prepared, in the colours of the screen (0 to 1).

    What it minimises is the negative evidence lower bound: the squared error over 2 sigma^2, summed over the pixels,
    plus beta times the divergence of the latent Gaussian from N(0, 1); divided by the number of values, so that
    losses of different sizes compare.

    Args:
        task: `Task.to_dict()` of the data: the classes that can be asked for.
        latent: Latent numbers.
        widths: Channels after each block of the encoder; a block halves the side.
        beta: Weight of the divergence (Higgins et al., "beta-VAE", ICLR 2017).
        sigma: Standard deviation that a pixel is believed to have, of 1; smaller ones give sharper photographs whose
            latent numbers are further from N(0, 1).
        only: A class: the others' photographs are passed over, and nothing is asked for. None: all, by class.
        **options: Of `BaseModule`.

    Raises:
        ConfigError: If the task has no such class.
    """

    given: ClassVar[tuple[str, ...]] = (*BaseModule.given, "task")

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        *,
        task: dict[str, Any],
        latent: int = 128,
        widths: Sequence[int] = (32, 64, 128, 256),
        beta: float = 1.0,
        sigma: float = 0.1,
        only: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.seen: list[list[str]] = []  # content and perceptual hash of the photographs that it was trained on
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.preprocessing.mean, self.preprocessing.std))
        self.register_buffer("_mean", mean.float(), persistent=False)
        self.register_buffer("_std", std.float(), persistent=False)

    def build_network(self) -> nn.Module:
        """Return the autoencoder, with a condition per class unless one class is learned alone."""
        self.task = Task.from_dict(dict(self.hparams["task"]))
        only = self.hparams["only"]
        if only is not None and only not in self.task.classes:
            raise ConfigError([f"model.only={only} is no class of {self.task.name}: {', '.join(self.task.classes)}"])
        widths = [int(width) for width in self.hparams["widths"]]
        conditions = 0 if only is not None else self.task.num_classes
        return Vae(self.preprocessing.input_size, widths, int(self.hparams["latent"]), conditions)

    # What goes in.

    @classmethod
    def check_data(cls, datamodule: FundusDataModule) -> None:
        """Refuse targets that are no classes: photographs are drawn of a class."""
        if not datamodule.task.has_probabilities:
            raise DataError(
                f"data={datamodule.name} asks for {datamodule.task.answer} per photograph; a VAE learns classes"
            )

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Note what it will have seen, so that nobody tests on it what its photographs helped to train.

        Raises:
            DataError: If there are too few photographs to learn from.
        """
        only = self.hparams["only"]
        wanted = None if only is None else self.task.classes.index(only)
        self.seen = [list(pair) for pair in datamodule.contents("train", wanted)]
        what = f"photographs of class {only}" if only is not None else "photographs"
        if len(self.seen) < _FEWEST:
            raise DataError(f"{len(self.seen)} {what} in the training part: too few to learn from")
        if not datamodule.contents("val", wanted):
            raise DataError(f"no {what} in the validation part, on which the best epoch is chosen")
        return [f"learns from {len(self.seen)} photographs{'' if only is None else f' of class {only}'}"]

    def conditions(self, labels: Tensor) -> Tensor:
        """Return what says which classes photographs are of, float32, (B, C) or (B, 0), from a batch's targets."""
        if self.hparams["only"] is not None:
            return self._mean.new_zeros(len(labels), 0)
        if labels.ndim == 2:
            return labels.float()
        return nn.functional.one_hot(labels, self.task.num_classes).float()

    def _wanted(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the photographs of a batch that are learned from, 0 to 1, and their conditions."""
        images, labels = batch["image"], batch["target"]
        only = self.hparams["only"]
        if only is not None:
            number = self.task.classes.index(only)
            rows = labels[:, number] == 1 if labels.ndim == 2 else labels == number
            images, labels = images[rows], labels[rows]
        return (images * self._std + self._mean).clamp(0, 1), self.conditions(labels)

    # Training.

    def terms(self, pixels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Return reconstruction and divergence of each photograph in nats, (B,) each; a draw of the latent numbers.

        Args:
            pixels: (B, 3, S, S), 0 to 1.
            conditions: Of `conditions`.
        """
        mean, log_variance = self.network.encode(pixels, conditions)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        redrawn = self.network.decode(mean + noise * (0.5 * log_variance).exp(), conditions)
        error = (redrawn - pixels).square().flatten(1).sum(dim=1) / (2 * float(self.hparams["sigma"]) ** 2)
        return error, divergence(mean, log_variance)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the loss of a batch; None where none of its photographs is of the class."""
        return self._loss(batch, "train")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss, with the mean of the latent Gaussian in the place of a draw."""
        self._loss(batch, "val")

    def _loss(self, batch: dict[str, Any], part: str) -> Tensor | None:
        pixels, conditions = self._wanted(batch)
        # Batch norm learns nothing from a single photograph.
        if len(pixels) < (2 if part == "train" else 1):
            return None
        error, kl = self.terms(pixels, conditions)
        values = pixels[0].numel()
        loss = (error + float(self.hparams["beta"]) * kl).mean() / values
        for name, value in (("loss", loss), ("kl", kl.mean()), ("squared_error", error.mean() / values)):
            self.log(f"{part}/{name}", value, on_step=False, on_epoch=True, batch_size=len(pixels), sync_dist=True)
        return loss

    # What comes out.

    @torch.inference_mode()
    def draw(self, label: str | None, numbers: Sequence[int], seed: int) -> Tensor:
        """Return made-up photographs, (B, 3, S, S), 0 to 1.

        Args:
            label: A class of the task; the module's own where it learned one alone.
            numbers: Which photographs; each number has its own latent numbers, whatever the others are.
            seed: Seed of all.
        """
        latent = torch.stack([_latent(seed, number, self.network.latent) for number in numbers]).to(self.device)
        conditions = torch.zeros(len(numbers), self.network.conditions, device=self.device)
        if self.network.conditions:
            conditions[:, self.task.classes.index(str(label))] = 1
        return self.network.decode(latent, conditions)

    def labels(self) -> tuple[str, ...]:
        """Return the classes that can be asked for."""
        only = self.hparams["only"]
        return tuple(self.task.classes) if only is None else (only,)

    def stages(self) -> Sequence[Stage]:
        """Judge the best checkpoint's photographs."""
        return (Judge(),)

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield what is learned."""
        yield "classes", ", ".join(self.labels())
        yield "latent numbers", str(self.hparams["latent"])

    # Checkpoints.

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells, with the photographs that were seen."""
        return {**super().metadata(), "seen": self.seen}

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over what was seen too."""
        super().take_metadata(metadata)
        self.seen = [list(pair) for pair in metadata.get("seen") or []]


def _latent(seed: int, number: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    return torch.randn(size, generator=generator)
