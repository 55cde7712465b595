"""From configuration sections to the objects of a run: datamodule, module, callbacks, trainer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from retinai.config.build import build, resolve_target
from retinai.data.loading.fields import take_fields
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError
from retinai.places import check_folder

if TYPE_CHECKING:
    import lightning

    from retinai.data.datamodule import FundusDataModule
    from retinai.distillation.teacher import Teachers
    from retinai.modules.base import FundusModule

# What the backbone section says about the input; the rest of `Preprocessing` comes from the data section.
_BACKBONE_INPUT = ("input_size", "mean", "std", "interpolation")


def plain(node: Any) -> dict[str, Any]:
    """Return a configuration section as plain, resolved values."""
    content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node
    return dict(content)  # type: ignore[arg-type]


def preprocessing_of(backbone: Mapping[str, Any], data: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that a backbone section and a data section decide together."""
    values = {key: backbone[key] for key in _BACKBONE_INPUT if key in backbone}
    return Preprocessing.from_dict({**values, **(data.get("preprocess") or {})})


def topology_section(cfg: DictConfig) -> dict[str, Any] | None:
    """Return the `topology` section of a configuration; None where topology is off.

    Raises:
        ConfigError: If a value makes no sense.
    """
    from retinai.topology.settings import TopologySettings

    settings = TopologySettings.from_dict(plain(cfg.get("topology") or {"name": "none"}))
    return settings.to_dict() if settings.on else None


def check_machine(cfg: DictConfig) -> None:
    """Ask the module's class whether packages and hardware are there, before any data is read.

    Raises:
        UserError: Says what is missing.
    """
    module_class = resolve_target(plain(cfg.model), trusted=True)
    if hasattr(module_class, "check_machine"):
        module_class.check_machine(plain(cfg.backbone))


def check_batches(cfg: DictConfig, datamodule: FundusDataModule) -> None:
    """Refuse shares of the batches of an epoch that come to none, before anything is made.

    Args:
        cfg: Composed training configuration.
        datamodule: Its data, set up.

    Raises:
        ConfigError: Names the key, the number of batches and the least share.
    """
    problems = []
    for key, split in (("limit_train_batches", "train"), ("limit_val_batches", "val"), ("overfit_batches", "train")):
        share, count = cfg.trainer.get(key), len(datamodule.split_table(split))
        # Training leaves out a last batch that is not full, where there is a full one.
        batches = max(count // datamodule.batch_size, 1) if split == "train" else -(-count // datamodule.batch_size)
        if isinstance(share, float) and 0 < share * batches < 1:
            problems.append(
                f"trainer.{key}={share} of {batches} {'batch' if batches == 1 else 'batches'} in {split} is none; give "
                f"a share from {math.ceil(100 / batches) / 100:g}, or a whole number of batches"
            )
    if problems:
        raise ConfigError(problems)


def find_teachers(cfg: DictConfig) -> Teachers | None:
    """Load the teachers of a configuration whose model learns from some; None for other models.

    Raises:
        CheckpointError: If one is missing, unusable, or of another task than the others.
    """
    if not _takes(cfg, "teacher"):
        return None
    from retinai.distillation.teacher import checkpoint_paths, load_teachers

    return load_teachers(checkpoint_paths(plain(cfg.teacher)))


def make_datamodule(
    cfg: DictConfig, preprocessing: Preprocessing | None = None, teachers: Teachers | None = None
) -> FundusDataModule:
    """Build the datamodule of a configuration; what a module asks for besides comes by its `use_fields`.

    Args:
        cfg: Composed configuration with `data`, `paths`, and where they apply `backbone`,
            `sampler`, `augment`, `topology` and `seed`.
        preprocessing: Of a trained checkpoint; None takes it from the backbone and data sections.
        teachers: Who else looks at the training photographs.
    """
    from retinai.data.datamodule import FundusDataModule
    from retinai.topology.settings import TopologySettings

    data = plain(cfg.data)
    if preprocessing is None:
        preprocessing = preprocessing_of(plain(cfg.backbone), data)
    data.pop("preprocess", None)
    fields = take_fields(data)
    check_folder(cfg.paths.cache, "paths.cache")
    extra: dict[str, Any] = {"preprocessing": preprocessing.to_dict(), "cache": str(cfg.paths.cache)}
    for key in ("sampler", "augment"):
        if cfg.get(key) is not None:
            extra[key] = plain(cfg[key])
    if cfg.get("seed") is not None:
        extra["seed"] = int(cfg.seed)
    section = topology_section(cfg)
    if section is not None:
        fields += TopologySettings.from_dict(section).fields()  # a missing package is told before photographs are read
    datamodule = build(data, FundusDataModule, trusted=True, **extra, fields=fields)
    if teachers is not None:  # before photographs are read
        teachers.check_preprocessing(preprocessing)
        teachers.check_task(datamodule.task)
    return datamodule


def make_module(cfg: DictConfig, datamodule: FundusDataModule, teachers: Teachers | None = None) -> FundusModule:
    """Build the LightningModule of a configuration for the task and class counts of its data.

    Args:
        cfg: Composed training configuration.
        datamodule: Its data, set up.
        teachers: Of `find_teachers`.
    """
    model = plain(cfg.model)
    sections = {k: plain(cfg[k]) for k in ("backbone", "attention", "tuning", "loss", "optimizer", "scheduler")}
    if cfg.get("prompt"):
        sections["prompt"] = plain(cfg.prompt)
    sections |= {k: plain(cfg[k]) for k in ("consistency", "teacher") if k in cfg and _takes(cfg, k)}
    topology = topology_section(cfg)
    if topology is not None:
        sections["topology"] = topology
    from retinai.modules.base import FundusModule

    module = build(
        model,
        FundusModule,
        trusted=True,
        task=datamodule.task.to_dict(),
        preprocessing=datamodule.preprocessing.to_dict(),
        class_counts=list(datamodule.class_counts),
        num_samples=int((datamodule.table["split"] == "train").sum()),
        seed=int(cfg.seed),
        **sections,
    )
    if teachers is not None:
        cast(Any, module).set_teachers(teachers)  # a module that takes teachers has it
    return module


def _takes(cfg: DictConfig, argument: str) -> bool:
    """Whether the configured model's constructor knows an argument."""
    return argument in inspect.signature(resolve_target(plain(cfg.model), trusted=True)).parameters


def _cluster() -> list[Any]:
    """Return Lightning's view of a SLURM job without its signal handler: `slurm/until_limit.sh` owns the requeue."""
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def make_trainer(cfg: DictConfig, folder: Path, callbacks: list[Any], logger: Any) -> lightning.Trainer:
    """Build Lightning's Trainer from the `trainer` section; its checkpoints are written whole or not at all."""
    import lightning

    from retinai.encoders.checkpoint_io import AtomicCheckpointIO

    arguments = plain(cfg.trainer)
    return lightning.Trainer(
        **arguments,
        default_root_dir=str(folder),
        callbacks=callbacks,
        logger=logger or False,
        plugins=[AtomicCheckpointIO(), *_cluster()],
        enable_model_summary=False,
    )
