"""The base of modules that grade: a task, a criterion, class probabilities, and their validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from retinai.config.build import build
from retinai.errors import DataError
from retinai.losses.base import Criterion
from retinai.modules.base import BaseModule
from retinai.modules.checkpoint import plain
from retinai.modules.divergence import stop_if_diverged
from retinai.modules.exporter import Exporter
from retinai.modules.stages import Calibrate, Stage, TestBest
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep, Probabilities, run_steps
from retinai.reports.parts import ReportPart
from retinai.tasks.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from retinai.data.datamodule import FundusDataModule
    from retinai.metrics.validation import ValidationMetrics


class GradingModule(BaseModule):
    """A module that gives class probabilities for a task with labels.

    Args:
        task: `Task.to_dict()` of the data.
        class_counts: Samples (multilabel: positives) per class in the training split.
        loss: The `loss` section.
        num_samples: Samples in the training split, for losses that weigh positives against negatives.
        **options: Of `BaseModule`.

    Raises:
        ConfigError: If sections do not fit the task or each other.
    """

    given: ClassVar[tuple[str, ...]] = (*BaseModule.given, "task", "class_counts", "num_samples")
    # Whether photographs become probabilities in one graph of tensors, so that it can run without PyTorch.
    is_tensor_graph: ClassVar[bool] = True
    # What it can learn to give, see `Task.distribution`.
    distributions: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli")

    def __init__(
        self,
        *,
        task: dict[str, Any],
        class_counts: Sequence[int],
        loss: dict[str, Any],
        num_samples: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._validation: list[tuple[Tensor, Tensor]] = []
        self.calibration: dict[str, Any] | None = None  # of `fit_calibration`; set when a checkpoint is loaded

    # What a subclass builds.

    def build(self) -> None:
        """Build criterion, network and validation metrics."""
        self.task = Task.from_dict(dict(self.hparams["task"]))
        self.class_counts = [int(n) for n in self.hparams["class_counts"]]
        self.criterion = self.build_loss()
        super().build()
        self.metrics = self.build_metrics()

    def build_loss(self) -> Criterion:
        """Return the criterion of the `loss` section."""
        counts, samples = self.class_counts, self.hparams.get("num_samples")
        return build(self.hparams["loss"], Criterion, task=self.task, class_counts=counts, num_samples=samples)

    def build_metrics(self) -> ValidationMetrics:
        """Return the validation metrics of the task."""
        return self.task.validation_metrics(self.decision_rule)

    def parameter_groups(self, more: Iterable[nn.Parameter] = ()) -> list[dict[str, Any]]:
        """Return what trains, with the criterion's own parameters (thresholds between grades) at the head's rate."""
        return super().parameter_groups([*self.criterion.parameters(), *more])

    @classmethod
    def check_data(cls, datamodule: FundusDataModule) -> None:
        """Refuse to learn from photographs without labels, and from a training part that lacks a class."""
        if not datamodule.task.target_types:
            why = datamodule.source.why_unlabelled
            raise DataError(
                f"data={datamodule.name} has no labels{f' ({why})' if why else ''}, which a model that grades learns "
                "from; choose others, or model=token_reconstruction phase=pretrain, which needs none"
            )
        if datamodule.task.distribution not in cls.distributions:
            raise DataError(
                f"data={datamodule.name} asks for {datamodule.task.answer} per photograph, which {cls.__name__} cannot "
                "learn; model=classifier loss=number can"
            )
        sampler = datamodule.loading.sampler
        chosen = sampler if isinstance(sampler, str) else sampler.get("name")
        if chosen == "weighted" and not datamodule.task.has_probabilities:
            raise DataError(
                f"sampler=weighted evens out classes, and data={datamodule.name} has none; use sampler=shuffle"
            )
        datamodule.check_training()

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Have the criterion look at the training part's targets."""
        targets = datamodule.split_table("train")["target"].tolist()
        self.criterion.take_targets(self.task.target_array(targets))
        return super().prepare_training(datamodule)

    # What a run asks of a grader.

    @property
    def monitor(self) -> str:
        """The metric that the task watches."""
        return self.task.monitor

    @property
    def mode(self) -> str:
        """Whether the task wants that metric high or low."""
        return self.task.mode

    @property
    def decision_rule(self) -> str:
        """How probabilities become decisions, see `retinai.metrics.decisions.decide`."""
        return self.criterion.decision_rule

    @property
    def states_probabilities(self) -> bool:
        """Whether it gives probabilities that a temperature can scale, and not only decisions."""
        return self.task.has_probabilities

    def stages(self) -> Sequence[Stage]:
        """Calibrate the best checkpoint where there are probabilities, then test it."""
        return (Calibrate(), TestBest()) if self.task.has_probabilities else (TestBest(),)

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield loss, class counts and class weights."""
        counts = zip(self.task.classes, self.class_counts, strict=True)
        weights = self.criterion.class_weights
        yield "loss", str(self.hparams["loss"].get("name") or type(self.criterion).__name__)
        yield "class counts", ", ".join(f"{name} {n}" for name, n in counts)
        yield "class weights", "none" if weights is None else ", ".join(f"{w:.2f}" for w in weights.tolist())

    # What goes in and comes out.

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return what of a batch goes into `forward`: the photographs, and what a subclass takes besides."""
        return (batch["image"],)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, shape (B, num_outputs), from normalised photographs (B, 3, S, S)."""
        return self.network(images)

    def prediction_steps(self) -> list[PredictionStep]:
        """Return what is found out of each photograph of a data set; a subclass with more to tell adds to it."""
        return [Probabilities()]

    def photograph_steps(self) -> list[PredictionStep]:
        """Return what is found out of each loose file, which has no labels."""
        return [Probabilities()]

    def report_parts(self, predictions: Predictions) -> list[ReportPart]:
        """Return what an evaluation tells of this kind of module beside metrics of the task; nothing here.

        Args:
            predictions: Of labelled photographs, with the columns that `prediction_steps` brought.
        """
        return []

    def exporters(self) -> dict[str, Exporter]:
        """Return the formats of its own that a module can be exported to, beside those of any graph of tensors."""
        return {}

    def write_more_files(self, folder: Path, datamodule: FundusDataModule, split: str, engine: str) -> dict[str, Any]:
        """Write into an exported folder what belongs there beside the network; nothing here.

        Args:
            folder: The folder that is being written.
            datamodule: The data, set up.
            split: Whose photographs the folder is checked on.
            engine: `onnx` or `openvino`.

        Returns:
            What `model.json` tells of these files.
        """
        return {}

    def predict_step(self, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Any]:
        """Return `id` (list of str) and what `prediction_steps` find, such as `probability` (B, C), on the CPU."""
        results: dict[str, Any] = {"id": list(batch["id"])}
        for found in run_steps(self, batch, self.prediction_steps()):
            results |= found
        return results

    def predict_probabilities(self, images: Tensor, *more: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C), from `network_inputs`."""
        return self.criterion.probabilities(self(images, *more))

    # Training and validation.

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.criterion(self(*self.network_inputs(batch)), batch["target"])
        size = len(batch["image"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted or a sanity validation left."""
        self._validation.clear()
        self.metrics.reset()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss and keep the logits; after the last batch fit the criterion and score.

        The fit belongs here and not at the epoch's end, because weight averaging swaps the averaged
        weights out before the module's own epoch end is called.
        """
        logits = self(*self.network_inputs(batch))
        loss = self.criterion(logits, batch["target"])
        stop_if_diverged(self, loss, "val/loss", batch_idx)
        self.log("val/loss", loss, on_epoch=True, prog_bar=True, batch_size=len(logits), sync_dist=True)
        self._validation.append((logits.float(), batch["target"]))
        if batch_idx + 1 == self._validation_batches():
            self._finish_validation()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole split."""
        for name, value in self.metrics.compute().items():
            self.log(f"val/{name}", value, prog_bar=f"val/{name}" == self.monitor, sync_dist=True)

    def _validation_batches(self) -> float:
        trainer = self.trainer
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        return batches[0] if isinstance(batches, list) else batches

    def _finish_validation(self) -> None:
        logits, targets = (torch.cat(parts) for parts in zip(*self._validation, strict=True))
        self._validation.clear()
        if not self.trainer.sanity_checking:
            self.criterion.fit(self._everywhere(logits), self._everywhere(targets))
        self.metrics.update(self.criterion.probabilities(logits).float(), targets)

    def _everywhere(self, values: Tensor) -> Tensor:
        """Return the rows of all processes, so that every one fits the same."""
        if self.trainer.world_size == 1:
            return values
        gathered: Any = self.all_gather(values)
        return gathered.flatten(0, 1)

    # Checkpoints.

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells, with task and calibration."""
        return {**super().metadata(), "task": self.task.to_dict(), "calibration": plain(self.calibration)}

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over the calibration too."""
        super().take_metadata(metadata)
        self.calibration = metadata.get("calibration")
