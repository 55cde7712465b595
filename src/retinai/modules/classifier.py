"""The classifier: a backbone with attention and a linear head, trained on labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from retinai.config.build import settings_from
from retinai.data.loading.fields import SampleField
from retinai.encoders.attention import AttentionSettings
from retinai.encoders.encoder import build_encoder
from retinai.encoders.tuning import EncoderTuning, Tuning, TuningReport, TuningSettings
from retinai.errors import CheckpointError, ConfigError, DataError, UserError
from retinai.losses.divergence import symmetric_kl
from retinai.modules.branches import check_same_branches
from retinai.modules.consistency import ConsistencySettings, background, draw_angles, rotate
from retinai.modules.grading import GradingModule
from retinai.modules.image_classifier import ImageClassifier
from retinai.modules.outside import DescribeTraining, ProbabilitiesAndDistance
from retinai.modules.stages import Stage
from retinai.modules.training_terms import build_terms, watching
from retinai.prediction.outside import DISTANCE, OUTSIDE, KnownFeatures
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep, Probabilities
from retinai.reports.outside import outside_part
from retinai.reports.parts import ReportPart

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule


class Classifier(GradingModule):
    """Grades photographs, or finds several diseases at once.

    Args:
        backbone: The `backbone` section.
        attention: The `attention` section.
        tuning: The `tuning` section.
        dropout: Probability of dropping a pooled feature.
        test_time_flips: Predictions are the mean of the probabilities of the photograph and its
            horizontal, vertical and double flip; validation during training does without.
        consistency: The `consistency` section; None for none.
        terms: Section of each further term of the loss by name, see `modules.training_terms`; None for none.
        branches: Section of each further input by name, see `modules.branches`; None for photographs alone.
        hidden: Width of a layer with ReLU between features and head; None for none.
        name: Name of the configuration.
        **options: Of `GradingModule`.

    Raises:
        ConfigError: If sections do not fit the task or each other.
    """

    network_class: ClassVar[type[ImageClassifier]] = ImageClassifier
    # Whether what it pools first are the features of the photograph itself.
    features_of_one: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli", "number")

    def __init__(
        self,
        *,
        backbone: dict[str, Any],
        attention: dict[str, Any],
        tuning: dict[str, Any],
        dropout: float = 0.2,
        test_time_flips: bool = False,
        consistency: dict[str, Any] | None = None,
        terms: dict[str, Any] | None = None,
        branches: dict[str, Any] | None = None,
        hidden: int | None = None,
        name: str = "classifier",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.test_time_flips = bool(test_time_flips)
        self.outside: KnownFeatures | None = None  # of `DescribeTraining`; set when a checkpoint is loaded
        self.consistency: ConsistencySettings = settings_from(consistency or {}, ConsistencySettings)
        self.terms = build_terms(terms)
        compared = [*self.terms, *([f"consistency={self.consistency.name}"] if self.consistency.on else [])]
        if compared and not self.task.has_probabilities:
            raise ConfigError([f"{' and '.join(compared)} is about classes, and task {self.task.name!r} has a number"])
        if self.terms and self.consistency.on:
            raise ConfigError(
                [f"{' and '.join(self.terms)} and consistency={self.consistency.name} do not go together; choose one"]
            )

    def build_network(self) -> nn.Module:
        """Return the encoder with attention, branches, dropout and a linear head."""
        attention: AttentionSettings = settings_from(self.hparams["attention"], AttentionSettings)
        encoder = build_encoder(self.hparams["backbone"])
        outputs, dropout = self.criterion.num_outputs, float(self.hparams["dropout"])
        branches, hidden = self.hparams.get("branches"), self.hparams.get("hidden")
        return self.network_class(encoder, attention, outputs, dropout, branches, hidden)

    def tune(self) -> TuningReport:
        """Freeze what the `tuning` section leaves as it is, and add what it adds.

        Raises:
            ConfigError: If the section is of a language model, or does not suit the backbone.
        """
        settings = settings_from(self.hparams["tuning"], TuningSettings, Tuning)
        if not isinstance(settings, EncoderTuning):
            raise ConfigError([f"tuning={settings.name} is of a language model; use lora, full, head or partial"])
        return settings.apply(self.network)

    # What goes in.

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Check the terms of the loss, and have training batches carry what they read."""
        told = super().prepare_training(datamodule)
        for term in self.terms.values():
            told += term.prepare(self, datamodule)
        there = {field.name for field in datamodule.fields}
        more = [field for term in self.terms.values() for field in term.fields()]
        datamodule.use_fields([field for field in more if field.name not in there])
        return told

    def fields(self) -> list[SampleField]:
        """Return what the branches read."""
        return [branch.field for branch in self.network.branches.values()]

    def photograph_fields(self) -> list[SampleField]:
        """Return what loose files need of `fields`.

        Raises:
            UserError: If a branch reads what no file tells.
        """
        told = [str(field) for branch in self.network.branches.values() if (field := branch.field).needs_annotations]
        if told:
            raise UserError(
                f"the network reads {' and '.join(told)} beside the photograph, which only the table of a data set "
                "tells; such a network is used with retinai train and retinai evaluate (split=predict for photographs "
                "without labels), and is neither exported nor given loose files"
            )
        return super().photograph_fields()

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return the photographs (B, 3, S, S), and what each branch reads.

        Raises:
            DataError: If the batch lacks what a branch reads.
        """
        names = [branch.field.name for branch in self.network.branches.values()]
        absent = [name for name in names if name not in batch]
        if absent:
            raise DataError(
                f"the network has a {absent[0]} branch, but the batches carry no {absent[0]!r}; give the datamodule "
                "the fields of the module: datamodule.use_fields(module.fields())"
            )
        return batch["image"], *(batch[name] for name in names)

    def forward(self, images: Tensor, *values: Any) -> Tensor:
        """Return logits, shape (B, num_outputs), from `network_inputs`.

        Args:
            images: Normalised photographs, (B, 3, S, S).
            *values: What each of the branches reads, in their order.

        Raises:
            ConfigError: If there are more or fewer values than branches.
        """
        return self.network(images, *values)

    def describe_network(self) -> Iterator[tuple[str, str]]:
        """Yield backbone, branches and start weights."""
        first, *more = super().describe_network()
        yield first
        yield from ((name, str(branch.field)) for name, branch in self.network.branches.items())
        yield from more

    def check_architecture(self, metadata: Mapping[str, Any], name: str) -> None:
        """Refuse a checkpoint with other branches."""
        check_same_branches(self.hparams.get("branches"), metadata["hparams"].get("branches"), name)

    @property
    def network_kind(self) -> str:
        """A classifier, also for subclasses that train it in another way."""
        return Classifier.__name__

    # Training.

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch, with the price of predictions that change as photographs turn, or with terms."""
        if self.consistency.on:
            logits, turned = self._logits_of_both(batch)
            penalty = symmetric_kl(self.criterion.class_logits(logits), turned, self.task.distribution)
            self.log_part("consistency", penalty, batch)
            loss = self.task_loss(logits, batch) + self.consistency.weight * penalty
        else:
            loss = self._loss_with_terms(batch)
        self.log_part("loss", loss, batch, prog_bar=True)
        return loss

    def _loss_with_terms(self, batch: dict[str, Any]) -> Tensor:
        inputs = self.network_inputs(batch)
        with watching(self.terms, self) as seen:
            logits = self(*inputs)
        loss = self.task_loss(logits, batch)
        for name, term in self.terms.items():
            values = term.values(self, seen[name], logits, batch)
            for part, value in values.items():
                self.log_part(part, value.detach(), batch)
            if term.weight:
                loss = loss + term.weight * next(iter(values.values()))
        return loss

    def task_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return what learning the task costs, a scalar, from logits (B, num_outputs)."""
        return self.criterion(logits, batch["target"])

    def log_part(self, name: str, value: Tensor | float, batch: dict[str, Any], prog_bar: bool = False) -> None:
        """Log the epoch's mean of a part of the loss as `train/<name>`."""
        size = len(batch["id"])
        self.log(f"train/{name}", value, on_step=False, on_epoch=True, prog_bar=prog_bar, batch_size=size,
                 sync_dist=True)  # fmt: skip

    def _logits_of_both(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the logits of the photographs, and the class logits of the same ones turned.

        Both go through the network as one batch: batch norm then measures them by the same statistics, so that
        a divergence is the network's and not the batch's, and its running statistics see both, which
        differ no more than two augmentations do. Dropout falls differently on each.
        """
        images, *more = self.network_inputs(batch)
        fill = background(self.preprocessing)
        turned = rotate(images, draw_angles(len(images), self.consistency.degrees), fill)
        # A turned retina has the same spots; computing them anew would measure the resampling.
        first, second = self(torch.cat([images, turned]), *(torch.cat([same, same]) for same in more)).chunk(2)
        return first, self.criterion.class_logits(second)

    # Prediction.

    def stages(self) -> Sequence[Stage]:
        """Calibrate, describe the training photographs, and test."""
        stages = list(super().stages())
        if not self.features_of_one:
            return stages
        return [stage for one in stages for stage in ([DescribeTraining(), one] if one.name == "test" else [one])]

    def probability_step(self) -> PredictionStep:
        """Return what gives probabilities, with the distance from the training where that was described."""
        return Probabilities() if self.outside is None else ProbabilitiesAndDistance(self.outside)

    def prediction_steps(self) -> list[PredictionStep]:
        """Return probabilities and distance."""
        return [self.probability_step()]

    def photograph_steps(self) -> list[PredictionStep]:
        """Return the same for loose files."""
        return [self.probability_step()]

    def report_parts(self, predictions: Predictions) -> list[ReportPart]:
        """Return how many photographs lie outside what the network saw, where that was described."""
        if self.outside is None or DISTANCE not in predictions.columns:
            return []
        return [outside_part(predictions, self.outside)]

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells, with what the training photographs are like."""
        return {**super().metadata(), OUTSIDE: None if self.outside is None else self.outside.to_dict()}

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over what the training photographs are like.

        Raises:
            CheckpointError: If that is damaged.
        """
        super().take_metadata(metadata)
        found = metadata.get(OUTSIDE)
        try:
            self.outside = None if found is None else KnownFeatures.from_dict(found)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint's description of its training photographs cannot be used ({error}); train again, or "
                "use the file as it was written"
            ) from error

    def predict_probabilities(self, images: Tensor, *more: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C), averaged over flips where that is asked for.

        Persistence images are the same for a photograph and its flips.
        """
        return torch.stack(self.probabilities_of_views(images, *more)).mean(dim=0)

    def probabilities_of_views(self, images: Tensor, *more: Tensor) -> list[Tensor]:
        """Return class probabilities of each of `views`, (B, C) each, from `network_inputs`."""
        return [self.criterion.probabilities(self(view, *more)) for view in self.views(images)]

    def views(self, images: Tensor) -> list[Tensor]:
        """Return what a prediction is the mean of: the photographs, and their flips where those are asked for."""
        return [images, *([images.flip(3), images.flip(2), images.flip(2, 3)] if self.test_time_flips else [])]
