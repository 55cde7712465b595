"""The base of every LightningModule of retinai: optimisation, frozen parts, and a checkpoint that stands alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from lightning import LightningModule
from torch import Tensor, nn

from retinai.config.build import settings_from, show_base_options
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.tuning import TuningReport, hash_tensors, keep_frozen_in_eval
from retinai.errors import UserError
from retinai.modules.checkpoint import plain, restore_frozen_weights, write_metadata
from retinai.modules.divergence import stop_if_diverged
from retinai.modules.optimization import OptimizerSettings, SchedulerSettings, parameter_groups

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.stages import Stage


class BaseModule(LightningModule):
    """A module that learns from retinal photographs; it knows no task, no loss and no labels.

    A subclass takes its own plain arguments, passes the others on (`**options` will do), and builds its network in
    `build_network`; there every argument is in `self.hparams`. It adds `training_step` and, to have something to
    monitor, a `validation_step` that logs `monitor`.

    Args:
        preprocessing: `Preprocessing.to_dict()`; it travels in the checkpoint.
        optimizer: The `optimizer` section.
        scheduler: The `scheduler` section.
        seed: Decides the initial weights and, with epoch and batch, what is drawn while training.
        name: Name of the model's configuration; None: the class's own.

    Raises:
        ConfigError: If sections do not fit each other.
    """

    # Arguments that come from the data and the run and not from the `model` section; `run.factories` gives them.
    given: ClassVar[tuple[str, ...]] = ("preprocessing", "seed")
    # Most photographs that it takes at once; `Predictor` divides larger batches. None: as many as asked for.
    largest_batch: int | None = None
    network: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a subclass that takes `**options` show the arguments of the base too, so that keys can be checked."""
        super().__init_subclass__(**kwargs)
        show_base_options(cls)

    def __init__(
        self,
        *,
        preprocessing: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the subclasses' arguments too
        self.preprocessing = Preprocessing.from_dict(dict(preprocessing))
        self.seed = int(seed)
        self.model_name = name or type(self).__name__.lower()
        self.data_config: dict[str, Any] = {}
        self.split: dict[str, str] | None = None
        self.optimizer_settings: OptimizerSettings = settings_from(optimizer, OptimizerSettings)
        self.scheduler_settings: SchedulerSettings = settings_from(scheduler, SchedulerSettings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.build()
        self.fetchable_sha256 = self._hash_frozen()
        self._train_batch = 0  # number in its epoch
        keep_frozen_in_eval(self.network)

    # What a subclass builds.

    def build(self) -> None:
        """Build everything that has weights, in an order that the seed's first draws follow."""
        self.network = self.build_network()
        self.tuning_report = self.tune()  # adapters have first weights too

    def build_network(self) -> nn.Module:
        """Return the network; one with `.encoder` (an `Encoder`) can be tuned, and its frozen weights left out."""
        raise NotImplementedError

    def tune(self) -> TuningReport:
        """Decide what trains and return the report; a subclass with a `tuning` section overrides it."""
        return TuningReport(sum(p.numel() for p in self.network.parameters()), 0, ())

    # What a run asks of a kind of module before it is built.

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return a sentence for each choice of the whole configuration that makes no sense for this kind of model.

        Args:
            cfg: The composed configuration; other sections may be wrong or missing.
        """
        return ()

    @classmethod
    def check_machine(cls, sections: Mapping[str, Any]) -> None:
        """Check that packages, hardware and files are there, before any data is read.

        Args:
            sections: The `model` section with the sections that it takes.

        Raises:
            UserError: Says what is missing.
        """

    @classmethod
    def check_data(cls, datamodule: FundusDataModule) -> None:
        """Check that this kind of model can learn from the data, before the network is built.

        Args:
            datamodule: The data, set up.

        Raises:
            UserError: Says what is missing.
        """

    # What a run asks of a module.

    @property
    def monitor(self) -> str:
        """Name of the logged metric that chooses the best epoch."""
        return "val/loss"

    @property
    def mode(self) -> str:
        """Whether a good value of the monitored metric is high (`max`) or low (`min`)."""
        return "min"

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Load and check what only training needs, before the run folder is made.

        Args:
            datamodule: The data, set up; a module may ask it for more (`use_fields`).

        Returns:
            Sentences that the user should read.

        Raises:
            UserError: If something is missing or does not fit the data.
        """
        return []

    def stages(self) -> Sequence[Stage]:
        """Return what is done after the training, in order."""
        return ()

    def fields(self) -> list[SampleField]:
        """Return what batches must carry besides photograph and label, in training and wherever it predicts."""
        return []

    def photograph_fields(self) -> list[SampleField]:
        """Return those of `fields` that loose files need: what is computed of the photograph alone."""
        return [field for field in self.fields() if "predict" in field.splits and not field.needs_annotations]

    def reference_fields(self) -> list[SampleField]:
        """Return what an evaluation compares with besides the label, where the data set has it."""
        return []

    def set_prediction_option(self, name: str, value: Any) -> None:
        """Change how predictions are made, for models that leave a choice.

        Args:
            name: Key on the command line, such as `grading`.
            value: Its value.

        Raises:
            UserError: If the model has no such choice.
        """
        raise UserError(f"{name}={value} means nothing for this checkpoint: model {self.model_name!r} has no {name}=")

    def facts(self) -> dict[str, Any]:
        """Return what `run.json` tells of the module besides the configuration."""
        return {}

    def describe_network(self) -> Iterator[tuple[str, str]]:
        """Yield what is printed of the network before training starts, as (label, value) rows."""
        side = f"{self.preprocessing.input_size} px"
        known = "backbone" in self.hparams
        yield ("backbone" if known else "model", f"{self.backbone_name}, {side}")
        yield "start weights", self.start_weights

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield the rows that tell what is learned, such as the loss."""
        yield from ()

    @property
    def backbone_name(self) -> str:
        """Name of the backbone's configuration; of the model's for one that takes no `backbone` section."""
        section = self.hparams.get("backbone")
        return str(section["name"]) if section else self.model_name

    @property
    def start_weights(self) -> str:
        """Where the weights came from that training starts with."""
        return str(self._load_report or "none (fresh)")

    @property
    def _load_report(self) -> Any:
        return getattr(getattr(self.network, "encoder", None), "load_report", None)

    @property
    def network_kind(self) -> str:
        """Name of the class whose network this one has: start weights go from one kind to the same kind only."""
        return type(self).__name__

    @property
    def frozen_keys(self) -> frozenset[str]:
        """Keys of the state dict that training cannot change."""
        return frozenset(f"network.{key}" for key in self.tuning_report.frozen_keys)

    def describe_data(
        self, data: Mapping[str, Any], model: str | None = None, split: Mapping[str, str] | None = None
    ) -> None:
        """Keep the data section, the model's name and the split (of `KnownSplit.to_dict`) for the checkpoint."""
        self.data_config = plain(data)
        self.split = plain(split)
        self.model_name = model or self.model_name

    # Training.

    def train(self, mode: bool = True) -> BaseModule:
        """Switch to training mode, except for frozen parts: those stay in evaluation mode."""
        super().train(mode)
        if mode:
            keep_frozen_in_eval(self.network)
        return self

    def on_fit_start(self) -> None:
        """Switch to training mode; Lightning leaves each part in the mode that it finds it in."""
        self.train()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch; whatever else it holds, such as names and texts, stays as it is."""
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

    def configure_optimizers(self) -> Any:
        """Return the optimiser over `parameter_groups` and a schedule that moves with each step."""
        optimizer = self.optimizer_settings.build(self.parameter_groups())
        scheduler = self.scheduler_settings.build(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def parameter_groups(self, more: Iterable[nn.Parameter] = ()) -> list[dict[str, Any]]:
        """Return what trains, by depth in the network where it has a backbone; see `optimization.parameter_groups`.

        Args:
            more: Parameters outside of the network.
        """
        return parameter_groups(self.network, self.optimizer_settings, more)

    # Checkpoints.

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells of the module: plain values, enough to build it anew."""
        return {
            "target": f"{type(self).__module__}.{type(self).__qualname__}",
            "network": self.network_kind,
            "hparams": plain(self.hparams),
            "preprocessing": plain(self.preprocessing.to_dict()),
            "backbone": self.backbone_name,
            "model": self.model_name,
            "data": plain(self.data_config),
            "split": plain(self.split),
        }

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over what a checkpoint tells beyond the arguments that the module was built with."""
        self.data_config = metadata["data"]
        self.split = metadata.get("split")
        self.model_name = metadata["model"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the checkpoint alone; leave out frozen weights that can be had again."""
        write_metadata(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete the checkpoint with the frozen weights and check that it fits."""
        restore_frozen_weights(self, checkpoint)

    def check_architecture(self, metadata: Mapping[str, Any], name: str) -> None:
        """Refuse a checkpoint of another architecture in words that say more than the first tensor that differs.

        Args:
            metadata: Of `read_metadata`.
            name: The file, for the error.

        Raises:
            CheckpointError: Says what the checkpoint has and what is asked for.
        """

    def take_start_weights(self, path: Path, checkpoint: dict[str, Any]) -> list[str] | None:
        """Take the weights of a checkpoint of the same kind of network and backbone in a way of its own.

        Args:
            path: The file, for messages.
            checkpoint: Its content, read and checked.

        Returns:
            Sentences that say where the weights came from and what stayed fresh; None leaves it to
            `warm_start.load_start_weights`.

        Raises:
            CheckpointError: If they do not fit.
        """
        return None

    def _hash_frozen(self) -> str | None:
        """SHA-256 of the frozen weights that the backbone section can load again; None if it cannot."""
        keys = self.frozen_keys
        if not keys or self._load_report is None:
            return None
        return hash_tensors(self.state_dict(), keys)
