"""The lesion grader: a classifier whose encoder also learns to draw lesions and the optic disc."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retinai.config.build import build
from retinai.data.loading.fields import SampleField
from retinai.encoders.tuning import TuningReport
from retinai.errors import CheckpointError, ConfigError, DataError
from retinai.lesion_segmentation.decoder import MaskDecoder, mask_loss
from retinai.lesion_segmentation.fields import DrawnFiles, LesionCrops
from retinai.lesion_segmentation.reading import MaskReading
from retinai.lesion_segmentation.report import lesions_part
from retinai.lesion_segmentation.stages import THRESHOLDS, ChooseThresholds, TestMasks
from retinai.lesions.fields import FindingsField
from retinai.lesions.pixel_metrics import MASK_NAMES
from retinai.llava.text.prompts import PromptTemplates
from retinai.modules.classifier import Classifier
from retinai.modules.outside import DescribeTraining
from retinai.modules.stages import Calibrate, Stage
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep
from retinai.reports.parts import ReportPart

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

_COLOURS = 3


class LesionGrader(Classifier):
    """A classifier that also draws microaneurysms, haemorrhages, hard and soft exudates and the optic disc.

    The loss is that of the `loss` section plus `mask_weight` times cross-entropy and soft Dice of the masks. The grade
    is learned from whole photographs at the encoder's size, the masks from parts of the photographs that somebody drew
    on, at a larger size; all others take part in the grade's loss only. Both go through the same encoder. Batch
    normalisation measures whole photographs alone: parts are normalised by its running statistics, so that they change
    nothing about how whole photographs are seen.

    Args:
        prompt: The `prompt` section: templates of the sentences that tell what masks show.
        mask_size: Side in pixels of the prepared photograph in which masks are drawn.
        crop: Side of a part that is learned from, at most `mask_size`.
        crops: Parts of each photograph with masks, in each epoch.
        mask_weight: Weight of the masks' loss, > 0.
        decoder_width: Channels of the decoder, a multiple of 8.
        best_by: Which epoch is kept: the one with the best grade (`grade`: the task's metric), or with the lowest loss
            of the masks (`masks`), both on validation.
        name: Name of the configuration.
        **options: Of `Classifier`.

    Raises:
        ConfigError: If a value is out of range, or the encoder has no maps of several sizes.
    """

    distributions: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli")

    def __init__(
        self,
        *,
        prompt: dict[str, Any],
        mask_size: int = 1024,
        crop: int = 256,
        crops: int = 4,
        mask_weight: float = 1.0,
        decoder_width: int = 32,
        best_by: str = "grade",
        name: str = "lesions",
        **options: Any,
    ) -> None:
        if crop > mask_size:
            raise ConfigError([f"model.crop={crop} is more than model.mask_size={mask_size}, of which it is a part"])
        if best_by not in ("grade", "masks"):
            raise ConfigError([f"model.best_by={best_by} is unknown; valid: grade, masks"])
        super().__init__(name=name, **options)
        self.prompts = build(dict(prompt), PromptTemplates)
        self.thresholds: dict[str, float] = {}  # of `ChooseThresholds`; set when a checkpoint is loaded
        self.mask_weight, self.best_by = float(mask_weight), best_by
        self.mask_preprocessing = dataclasses.replace(self.preprocessing, input_size=int(mask_size))
        self.crop_side, self.crop_count = int(crop), int(crops)

    def build_network(self) -> nn.Module:
        """Return a classifier's network; the decoder stands beside it.

        Raises:
            ConfigError: If the encoder has no maps of several sizes.
        """
        network: Any = super().build_network()
        channels = network.encoder.pyramid_channels
        if len(channels) < 2:
            raise ConfigError(
                [
                    f"model=lesions needs maps of several sizes, from photographs of any size, which backbone "
                    f"{network.encoder.name} does not give; use a convolutional one, such as efficientnet_lite0, "
                    "resnet50 or convnext_tiny"
                ]
            )
        self.decoder = MaskDecoder(channels, int(self.hparams["decoder_width"]), len(MASK_NAMES))
        return network

    def tune(self) -> TuningReport:
        """Freeze what the `tuning` section leaves as it is; the decoder always trains."""
        report = super().tune()
        return dataclasses.replace(report, trainable=report.trainable + sum(p.numel() for p in self._decoder_weights()))

    def parameter_groups(self, more: Any = ()) -> list[dict[str, Any]]:
        """Return what trains, with the decoder at the head's rate."""
        return super().parameter_groups([*self._decoder_weights(), *more])

    def _decoder_weights(self) -> list[nn.Parameter]:
        return list(self.decoder.parameters())

    @property
    def network_kind(self) -> str:
        """A network of its own: a classifier has no decoder."""
        return LesionGrader.__name__

    # What goes in.

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Count the drawn photographs, and have batches carry parts of them.

        Raises:
            DataError: If no training photograph has masks, or none of validation where they choose the epoch.
        """
        told = super().prepare_training(datamodule)
        drawn = datamodule.source.annotations()
        ids = {split: datamodule.split_table(split)["id"] for split in ("train", "val")}
        counts = {split: sum(name in drawn for name in names) for split, names in ids.items()}
        if not counts["train"]:
            raise DataError(
                f"model=lesions learns from drawn lesions, and none of the {len(ids['train'])} training photographs of "
                f"data={datamodule.name} has masks; use data=idrid with its part A, or model=classifier"
            )
        if not counts["val"] and self.best_by == "masks":
            raise DataError(
                f"model.best_by=masks, but none of the {len(ids['val'])} validation photographs of "
                f"data={datamodule.name} has masks; use model.best_by=grade, or another split"
            )
        crops = LesionCrops(self.mask_preprocessing, self.crop_side, self.crop_count)
        datamodule.use_fields([crops, *self.reference_fields()])
        told.append(f"masks are learned from {counts['train']} of {len(ids['train'])} training photographs")
        return told

    def reference_fields(self) -> list[SampleField]:
        """Return where photographs and their masks lie, and what the drawn masks say."""
        return [DrawnFiles(), FindingsField()]

    # Training.

    @property
    def monitor(self) -> str:
        """The metric that chooses the best epoch."""
        return "val/masks" if self.best_by == "masks" else super().monitor

    @property
    def mode(self) -> str:
        """Whether that metric should be high or low."""
        return "min" if self.best_by == "masks" else super().mode

    def mask_logits(self, images: Tensor) -> Tensor:
        """Return logits of the masks, float32, (B, L, H, W), in the order of MASK_NAMES.

        Args:
            images: Photographs of `mask_preprocessing`, or parts of them, normalised, (B, 3, H, W).
        """
        images = images.contiguous(memory_format=self.network.memory_format)
        return self.decoder(self.network.encoder.pyramid(images), (images.shape[2], images.shape[3]))

    def task_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return what grade and masks cost together, and log both parts."""
        grade = super().task_loss(logits, batch)
        masks = self._mask_loss(batch)
        self.log_part("grade", grade.detach(), batch)
        self._log_masks("train", masks, batch)
        return grade + self.mask_weight * masks

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss of the masks beside what every grader logs."""
        self._log_masks("val", self._mask_loss(batch), batch)
        super().validation_step(batch, batch_idx)

    def _mask_loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the loss of the masks of a batch, a scalar; 0 where nobody drew on any of its photographs."""
        parts = batch[LesionCrops.name]
        if not len(parts):
            # With the weights in it, so that every process of a distributed run has a gradient for each of them.
            return torch.stack([weight.sum() for weight in self._decoder_weights()]).sum() * 0
        with running_statistics(self.network.encoder):
            return mask_loss(self.mask_logits(parts[:, :_COLOURS]), parts[:, _COLOURS:])

    def _log_masks(self, split: str, value: Tensor, batch: Mapping[str, Any]) -> None:
        """Log the mean over all parts of an epoch: batches count by their number of parts."""
        parts = len(batch[LesionCrops.name])
        self.log(f"{split}/masks", value.detach(), on_step=False, on_epoch=True, batch_size=parts, sync_dist=True)

    # Prediction.

    @property
    def tells_findings(self) -> bool:
        """Whether the templates have words for the task: those of ordered grades."""
        return not self.prompts.problems(self.task)

    def prediction_steps(self) -> list[PredictionStep]:
        """Return the grade, and what the masks say."""
        return [self.probability_step(), MaskReading()]

    def write_more_files(self, folder: Path, datamodule: FundusDataModule, split: str, engine: str) -> dict[str, Any]:
        """Write the masks as a second network, always in float32."""
        from retinai.lesion_segmentation.exporting import write_masks

        return write_masks(self, folder, datamodule, split, engine)

    def report_parts(self, predictions: Predictions) -> list[ReportPart]:
        """Return how far predicted masks are the drawn ones."""
        return [*super().report_parts(predictions), *lesions_part(predictions, self.thresholds)]

    def stages(self) -> Sequence[Stage]:
        """Calibrate the grade, choose the masks' thresholds, then test both."""
        return (Calibrate(), ChooseThresholds(), DescribeTraining(), TestMasks())

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield what a grader tells, and how masks are learned."""
        yield from super().describe_learning()
        side = self.mask_preprocessing.input_size
        yield "masks", f"{self.crop_count} parts of {self.crop_side} px of each drawn photograph at {side} px"

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over the thresholds of the masks too.

        Raises:
            CheckpointError: If they are no shares, or of other masks.
        """
        super().take_metadata(metadata)
        found = metadata.get(THRESHOLDS) or {}
        if not isinstance(found, dict) or not all(
            name in MASK_NAMES and isinstance(value, float) and 0 < value <= 1 for name, value in found.items()
        ):
            raise CheckpointError(
                f"the checkpoint's {THRESHOLDS} must map {', '.join(MASK_NAMES)} to shares, and are {str(found)[:99]}; "
                "train again, or use the file as it was written"
            )
        self.thresholds = dict(found)

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells, with the thresholds of the masks."""
        return {**super().metadata(), THRESHOLDS: dict(self.thresholds)}


@contextmanager
def running_statistics(encoder: nn.Module) -> Iterator[None]:
    """Have batch normalisation use its running statistics, and leave them as they are, in the block."""
    measuring = [part for part in encoder.modules() if isinstance(part, _BatchNorm) and part.training]
    for part in measuring:
        part.eval()
    try:
        yield
    finally:
        for part in measuring:
            part.train()
