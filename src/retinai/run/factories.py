"""From configuration sections to the objects of a run: datamodule, module, callbacks, trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from retinai.config.build import build, check_kind
from retinai.data.loading.fields import take_fields
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError
from retinai.output_folders import check_folder

if TYPE_CHECKING:
    import lightning

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.base import BaseModule

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


def module_class(cfg: DictConfig) -> type[BaseModule]:
    """Return the class of the LightningModule of a configuration.

    Raises:
        ConfigError: If the `model` section names none.
    """
    from retinai.modules.base import BaseModule

    return check_kind(plain(cfg.model), BaseModule, trusted=True)


def check_machine(cfg: DictConfig) -> None:
    """Ask the model's class whether packages, hardware and files are there, before any data is read.

    Raises:
        UserError: Says what is missing.
    """
    module_class(cfg).check_machine(plain(cfg.model))


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


def make_datamodule(cfg: DictConfig, preprocessing: Preprocessing | None = None) -> FundusDataModule:
    """Build the datamodule of a configuration; what a module asks for besides comes by its `use_fields`.

    Args:
        cfg: Composed configuration with `data`, `paths`, and where they apply `backbone`,
            `sampler`, `augment` and `seed`.
        preprocessing: Of a trained checkpoint; None takes it from the backbone and data sections.
    """
    from retinai.data.datamodule import FundusDataModule

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
    datamodule = build(data, FundusDataModule, trusted=True, **extra, fields=fields)
    if data.get("quality") is not None:
        from retinai.quality.files import VerdictStore

        datamodule.use_judge(VerdictStore(str(cfg.paths.cache)))
    return datamodule


# What a module's constructor may ask for besides its section (`BaseModule.given`).
_GIVEN: dict[str, Callable[[DictConfig, FundusDataModule], Any]] = {
    "preprocessing": lambda cfg, data: data.preprocessing.to_dict(),
    "seed": lambda cfg, data: int(cfg.seed),
    "task": lambda cfg, data: data.task.to_dict(),
    "class_counts": lambda cfg, data: list(data.class_counts),
    "num_samples": lambda cfg, data: int((data.table["split"] == "train").sum()),
}


def make_module(cfg: DictConfig, datamodule: FundusDataModule) -> BaseModule:
    """Build the LightningModule of a configuration for its data.

    Args:
        cfg: Composed configuration; its `model` section says which other sections the module takes.
        datamodule: Its data, set up.
    """
    from retinai.modules.base import BaseModule

    given = {key: _GIVEN[key](cfg, datamodule) for key in module_class(cfg).given}
    return build(plain(cfg.model), BaseModule, trusted=True, **given)


def _cluster() -> list[Any]:
    """Return Lightning's view of a SLURM job without its signal handler: `slurm/until_limit.sh` owns the requeue."""
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def make_trainer(cfg: DictConfig, folder: Path, callbacks: list[Any], logger: Any) -> lightning.Trainer:
    """Build Lightning's Trainer from the `trainer` section; its checkpoints are written whole or not at all."""
    import lightning

    from retinai.callbacks.sigterm import for_this_job
    from retinai.encoders.checkpoint_io import AtomicCheckpointIO

    arguments = plain(cfg.trainer)
    return lightning.Trainer(
        **arguments,
        default_root_dir=str(folder),
        callbacks=[*callbacks, *for_this_job()],
        logger=logger or False,
        plugins=[AtomicCheckpointIO(), *_cluster()],
        enable_model_summary=False,
    )
