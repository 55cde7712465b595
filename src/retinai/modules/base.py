"""The base of every LightningModule of retinai: one story in three hooks, and a checkpoint that stands alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from lightning import LightningModule
from torch import Tensor, nn

from retinai.config.build import TARGET, build
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.tuning import TuningReport, hash_tensors, keep_frozen_in_eval
from retinai.errors import UserError
from retinai.losses.base import Criterion
from retinai.modules.checkpoint import plain, restore_frozen_weights, write_metadata
from retinai.modules.divergence import stop_if_diverged
from retinai.modules.exporter import Exporter
from retinai.modules.optimization import OptimizerSettings, SchedulerSettings, parameter_groups
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep, Probabilities, run_steps
from retinai.reports.parts import ReportPart
from retinai.tasks.task import Task
from retinai.topology.settings import TopologySettings

if TYPE_CHECKING:
    from retinai.metrics.validation import ValidationMetrics

S = TypeVar("S")


class FundusModule(LightningModule):
    """A module that learns a task from fundus photographs.

    Subclasses add their own plain arguments, pass these on, and override the hooks that differ; inside
    a hook every argument is in `self.hparams`.

    Args:
        task: `Task.to_dict()` of the data.
        preprocessing: `Preprocessing.to_dict()`; it travels in the checkpoint.
        class_counts: Samples (multilabel: positives) per class in the training split.
        loss: The `loss` section.
        optimizer: The `optimizer` section.
        scheduler: The `scheduler` section.
        seed: Decides the initial weights and, with the epoch, dropout.
        num_samples: Samples in the training split, for losses that weigh positives against negatives.

    Raises:
        ConfigError: If sections do not fit the task or each other.
    """

    network: Any
    # Which persistence images the network takes beside the photograph; None where it takes none.
    topology: TopologySettings | None = None
    # Most photographs that it takes at once; `Predictor` divides larger batches. None: as many as asked for.
    largest_batch: int | None = None
    # Whether photographs become probabilities in one graph of tensors, so that it can run without PyTorch.
    is_tensor_graph: ClassVar[bool] = True

    def __init__(
        self,
        *,
        task: dict[str, Any],
        preprocessing: dict[str, Any],
        class_counts: Sequence[int],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        seed: int = 0,
        num_samples: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the subclass's arguments too
        self.task = Task.from_dict(dict(task))
        self.preprocessing = Preprocessing.from_dict(dict(preprocessing))
        self.class_counts = [int(n) for n in class_counts]
        self.seed = int(seed)
        self.data_config: dict[str, Any] = {}
        self.split: dict[str, str] | None = None
        self.calibration: dict[str, Any] | None = None  # of `fit_calibration`; set when a checkpoint is loaded
        self.model_name = type(self).__name__.lower()
        self.optimizer_settings: OptimizerSettings = settings_from(optimizer, OptimizerSettings)
        self.scheduler_settings: SchedulerSettings = settings_from(scheduler, SchedulerSettings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.criterion = self.build_loss()
            self.network = self.build_network()
            self.tuning_report = self.tune()  # adapters have first weights too
        self.metrics = self.build_metrics()
        self.fetchable_sha256 = self._hash_frozen()
        self._validation: list[tuple[Tensor, Tensor]] = []
        self._train_batch = 0  # number in its epoch
        keep_frozen_in_eval(self.network)

    # The three hooks.

    def build_network(self) -> nn.Module:
        """Return the network, with `.encoder` (an `Encoder`) and `num_outputs` of the criterion."""
        raise NotImplementedError

    def build_loss(self) -> Criterion:
        """Return the criterion of the `loss` section."""
        counts, samples = self.class_counts, self.hparams.get("num_samples")
        return build(self.hparams["loss"], Criterion, task=self.task, class_counts=counts, num_samples=samples)

    def build_metrics(self) -> ValidationMetrics:
        """Return the validation metrics of the task."""
        return self.task.validation_metrics(self.decision_rule)

    def tune(self) -> TuningReport:
        """Decide what trains and return the report; a subclass with a `tuning` section overrides it."""
        return TuningReport(sum(p.numel() for p in self.network.parameters()), 0, ())

    # What others ask of a module.

    @property
    def decision_rule(self) -> str:
        """How probabilities become decisions, see `retinai.metrics.decisions.decide`."""
        return self.criterion.decision_rule

    @property
    def states_probabilities(self) -> bool:
        """Whether it gives probabilities that a temperature can scale, and not only decisions."""
        return True

    @property
    def backbone_name(self) -> str:
        """Name of the backbone's configuration."""
        return str(self.hparams["backbone"]["name"])

    @property
    def start_weights(self) -> str:
        """Where the weights came from that training starts with."""
        return str(self.network.encoder.load_report or "none (fresh)")

    @property
    def frozen_keys(self) -> frozenset[str]:
        """Keys of the state dict that training cannot change."""
        return frozenset(f"network.{key}" for key in self.tuning_report.frozen_keys)

    def set_grading_mode(self, grading: str) -> None:
        """Change how a language model's grades are had.

        Raises:
            UserError: If this is no language model.
        """
        raise UserError(f"grading={grading} is for model=llava; this checkpoint is of model {self.model_name!r}")

    def describe_data(
        self, data: Mapping[str, Any], model: str | None = None, split: Mapping[str, str] | None = None
    ) -> None:
        """Keep the data section, the model's name and the split (of `KnownSplit.to_dict`) for the checkpoint."""
        self.data_config = plain(data)
        self.split = plain(split)
        self.model_name = model or self.model_name

    def fields(self) -> list[SampleField]:
        """Return what batches must carry besides photograph and label, in training and wherever it predicts."""
        return []

    def photograph_fields(self) -> list[SampleField]:
        """Return those of `fields` that loose files need: what is computed of the photograph alone."""
        return [field for field in self.fields() if "predict" in field.splits and not field.needs_annotations]

    def reference_fields(self) -> list[SampleField]:
        """Return what an evaluation compares with besides the label, where the data set has it."""
        return []

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return what of a batch goes into `forward`: the photographs, and what a subclass takes besides."""
        return (batch["image"],)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, shape (B, num_outputs), from normalised photographs (B, 3, S, S)."""
        return self.network(images)

    # Training.

    def train(self, mode: bool = True) -> FundusModule:
        """Switch to training mode, except for frozen parts: those stay in evaluation mode."""
        super().train(mode)
        if mode:
            keep_frozen_in_eval(self.network)
        return self

    def on_fit_start(self) -> None:
        """Switch to training mode; Lightning leaves each part in the mode that it finds it in."""
        self.train()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch; names, findings and texts stay where they are."""
        return {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from seed, epoch, batch and rank, so that a resumed run draws what one in one piece draws.

        Seeding at the epoch's start is not enough: making a data iterator draws from the same
        generator, and after a resume that happens at another moment.
        """
        self._train_batch = batch_idx
        text = f"{self.seed}/{self.current_epoch}/{batch_idx}/{self.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))

    def on_before_backward(self, loss: Tensor) -> None:
        """Stop at the first loss that is no finite number, before it reaches the weights.

        Raises:
            DivergedError: Names step and learning rate.
        """
        stop_if_diverged(self, loss, "train/loss", self._train_batch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.criterion(self(*self.network_inputs(batch)), batch["target"])
        size = len(batch["image"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimiser over depth-wise groups and a schedule that moves with each step."""
        groups = parameter_groups(self.network, self.optimizer_settings, self.criterion.parameters())
        optimizer = self.optimizer_settings.build(groups)
        scheduler = self.scheduler_settings.build(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # Validation.

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
            self.log(f"val/{name}", value, prog_bar=f"val/{name}" == self.task.monitor, sync_dist=True)

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

    # Prediction.

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

    def predict_step(self, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Any]:
        """Return `id` (list of str) and what `prediction_steps` find, such as `probability` (B, C), on the CPU."""
        results: dict[str, Any] = {"id": list(batch["id"])}
        for found in run_steps(self, batch, self.prediction_steps()):
            results |= found
        return results

    def predict_probabilities(self, images: Tensor, *more: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C), from `network_inputs`."""
        return self.criterion.probabilities(self(images, *more))

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the checkpoint alone; leave out frozen weights that can be had again."""
        write_metadata(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete the checkpoint with the frozen weights and check that it fits."""
        restore_frozen_weights(self, checkpoint)

    def _hash_frozen(self) -> str | None:
        """SHA-256 of the frozen weights that the backbone section can load again; None if it cannot."""
        keys = self.frozen_keys
        if not keys or self.network.encoder.load_report is None:
            return None
        return hash_tensors(self.state_dict(), keys)


def settings_from(section: Mapping[str, Any], default: type[S], expected: type[S] | None = None) -> S:
    """Build a settings object from its section.

    Args:
        section: With `_target_`, or without: it is of the default type then.
        default: Of this type.
        expected: What `_target_` has to name, or to be derived from; None: the default type.

    Raises:
        ConfigError: If the section names something else, or an argument does not fit.
    """
    return build({TARGET: f"{default.__module__}.{default.__name__}", **section}, expected or default)


def describe_training(module: FundusModule) -> list[tuple[str, str]]:
    """Return what is printed before training starts, as (label, value) rows."""
    report, criterion, settings = module.tuning_report, module.criterion, module.optimizer_settings
    counts = zip(module.task.classes, module.class_counts, strict=True)
    rows = [("backbone", f"{module.backbone_name}, {module.preprocessing.input_size} px")]
    if module.topology is not None:
        rows.append(("topology", str(module.topology)))
    rows.append(("start weights", module.start_weights))
    rows.append(("parameters", str(report)))
    rows.append(("loss", str(module.hparams["loss"].get("name") or type(criterion).__name__)))
    rows.append(("class counts", ", ".join(f"{name} {n}" for name, n in counts)))
    weights = criterion.class_weights
    shown = "none" if weights is None else ", ".join(f"{w:.2f}" for w in weights.tolist())
    rows.append(("class weights", shown))
    rate = f"{settings.name}, learning rate {settings.lr:g}, weight decay {settings.weight_decay:g}"
    if settings.layer_decay != 1.0:
        rate += f", layer decay {settings.layer_decay:g}"
    if settings.head_lr_multiplier != 1.0:
        rate += f", head x {settings.head_lr_multiplier:g}"
    rows.append(("optimiser", f"{rate}, {module.scheduler_settings.name}"))
    rows.append(("monitored metric", f"{module.task.monitor} (higher is better)"))
    return rows
