"""What `retinai evaluate backbone= prompts= data=` measures in the place of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from retinai.data.datamodule import FundusDataModule
from retinai.errors import ConfigError
from retinai.run.factories import make_datamodule, plain
from retinai.zero_shot.module import ZeroShotGrader


def check_choice(cfg: DictConfig) -> None:
    """Check that a checkpoint is named, or else everything that takes its place.

    Raises:
        ConfigError: Names what is missing, or what does not go with a checkpoint.
    """
    chosen = [key for key in ("backbone", "prompts") if cfg.get(key) is not None]
    if cfg.ckpt is not None:
        if chosen:
            words = " and ".join(f"{key}={cfg[key].name}" for key in chosen)
            raise ConfigError([f"ckpt={cfg.ckpt} brings its own network, so {words} means nothing; leave one out"])
        return
    if not chosen:
        raise ConfigError(["ckpt= is needed and was not given: a checkpoint; or, to grade by text prompts, backbone=, "
                           "prompts= and data="])  # fmt: skip
    missing = [f"{key}=" for key in ("backbone", "prompts", "data") if cfg.get(key) is None]
    if missing:
        raise ConfigError([f"{' and '.join(missing)} is needed to grade by text prompts, such as "
                           "backbone=openclip_vit_b16 prompts=dr_grades data=idrid"])  # fmt: skip


def open_zero_shot(cfg: DictConfig) -> tuple[ZeroShotGrader, FundusDataModule]:
    """Return the grader and the data, set up; the network is read after the data was found without fault.

    Args:
        cfg: With `backbone`, `prompts`, `data` and `paths`.

    Raises:
        UserError: If data or network cannot be used.
    """
    cfg = cfg.copy()
    for key in ("batch_size", "num_workers"):
        if cfg.get(key) is not None:
            cfg.data[key] = cfg[key]
    datamodule = make_datamodule(cfg)
    datamodule.setup()
    module = ZeroShotGrader(
        task=datamodule.task.to_dict(),
        backbone=plain(cfg.backbone),
        prompts=plain(cfg.prompts),
        preprocessing=datamodule.preprocessing.to_dict(),
    )
    return module.eval(), datamodule


def place_of(cfg: DictConfig) -> Path:
    """Return the folder below which results of grading by prompts go unless `run_dir=` says otherwise."""
    return Path(str(cfg.paths.outputs)) / "zero_shot" / f"{cfg.backbone.name}_{cfg.prompts.name}"
