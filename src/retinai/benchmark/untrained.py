"""Untrained networks of a benchmark: the student where none is given, its twin, and the baselines.

All are classifiers of retinai, so that all are exported, prepared for and measured by the same code.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.benchmark.rows import BASELINES

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.grading import GradingModule

# Photographs of the cohort that an untrained student is exported with.
_COHORT, _SIDE = 40, 256
# What a classifier is made of; a student of teachers has more arguments, which only its training needs.
_CLASSIFIER = (
    "task", "preprocessing", "class_counts", "num_samples", "backbone", "attention", "tuning", "loss", "optimizer",
    "scheduler", "dropout", "test_time_flips", "branches", "seed",
)  # fmt: skip


def untrained_module(cfg: DictConfig) -> GradingModule:
    """Return the untrained student that the configuration asks for; its `data` is filled in where it says none.

    Args:
        cfg: The composed configuration of `conf/benchmark.yaml`.
    """
    from omegaconf import OmegaConf, open_dict

    from retinai.config.choices import load_option
    from retinai.errors import ConfigError
    from retinai.modules.grading import GradingModule
    from retinai.run.factories import make_datamodule, make_module, plain

    if cfg.get("data") is None:
        data, _ = load_option("data", "synthetic")
        with open_dict(cfg):
            cfg.data = OmegaConf.merge(data, {"n": _COHORT, "size": _SIDE, "num_workers": 0})
    datamodule = make_datamodule(cfg)
    datamodule.setup()
    module = make_module(cfg, datamodule)
    if not isinstance(module, GradingModule):
        raise ConfigError([f"model={cfg.model.name} gives no class probabilities, so there is nothing to compare"])
    module.describe_data(plain(cfg.data), model="classifier")
    return module.eval()


def twin_module(student: GradingModule) -> GradingModule:
    """Return the student's twin with topology if it has none, and without if it has; untrained."""
    from retinai.topology.branch import TopologyBranch, topology_of

    own = _arguments(student)
    own["backbone"]["weights"] = "none"
    section = {"_target_": f"{TopologyBranch.__module__}.{TopologyBranch.__name__}"}
    own["branches"] = {"topology": section} if topology_of(student) is None else None
    return _build(own, student)


def baseline_module(student: GradingModule, key: str) -> GradingModule:
    """Return an untrained baseline for the student: same task, loss and pixels, one pass, no attention.

    Args:
        student: The student's module.
        key: Of `BASELINES`.
    """
    own = _arguments(student)
    pixels = ("_target_", "input_size", "mean", "std", "interpolation")
    own["backbone"] = {k: own["backbone"][k] for k in pixels if k in own["backbone"]}
    own["backbone"] |= {"name": key, "architecture": BASELINES[key][1], "weights": "none"}
    own["attention"] = {"name": "none"}
    own["tuning"] = {"name": "full"}
    own["branches"], own["test_time_flips"] = None, False
    return _build(own, student)


def save(module: GradingModule, path: Path) -> None:
    """Write a module as a checkpoint of retinai, whole or not at all."""
    from retinai.encoders.checkpoint_io import AtomicCheckpointIO
    from retinai.modules.checkpoint import write_metadata

    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    write_metadata(module, checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def _arguments(student: GradingModule) -> dict[str, Any]:
    return {key: copy.deepcopy(value) for key, value in student.hparams.items() if key in _CLASSIFIER}


def _build(arguments: dict[str, Any], student: GradingModule) -> GradingModule:
    from retinai.modules.classifier import Classifier

    module = Classifier(**arguments)
    module.describe_data(student.data_config, model=student.model_name, split=student.split)
    return module.eval()
