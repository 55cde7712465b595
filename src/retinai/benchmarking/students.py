"""The student of a benchmark: its checkpoint, its twin, and the folders that they are exported to."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.benchmarking.rows import Row, row_name
from retinai.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.base import FundusModule

ENGINES = ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8")
# Photographs of the cohort that an untrained student is exported with.
_COHORT, _SIDE = 40, 256


@dataclass(frozen=True)
class Student:
    """A checkpoint to measure.

    Args:
        checkpoint: Its file.
        name: What people call it.
        trained: Whether its agreement with the graders means anything.
        role: `student` or `twin`.
        topology: Whether it reads persistence images.
        input_size: Side of its input in pixels.
    """

    checkpoint: Path
    name: str
    trained: bool
    role: str
    topology: bool
    input_size: int

    def row(self, engine: str, precision: str, source: Path) -> Row:
        """Return its row in an engine."""
        key = f"{self.role}-{engine}" if engine == "pytorch" else f"{self.role}-{engine}-{precision}"
        name = row_name(self.name, engine, precision, self.topology)
        return Row(key, name, self.role, engine, precision, str(source), self.input_size, self.topology)


def open_student(cfg: DictConfig, scratch: Path) -> Student:
    """Return the student that the configuration asks for; an untrained one is made and saved first.

    Args:
        cfg: The composed configuration of `conf/benchmark.yaml`; for an untrained student its `data` is
            filled in.
        scratch: Folder for the checkpoint of an untrained one.

    Raises:
        CheckpointError: If the checkpoint is unusable.
        UserError: If it is of a kind that no engine can run.
    """
    from retinai.modules.load import load_module

    if cfg.ckpt is None:
        path = scratch / "untrained.ckpt"
        module = _untrained(cfg)
        save(module, path)
    else:
        path = Path(cfg.ckpt)
        module = load_module(path)
        if cfg.quick:
            _limit(cfg, module.data_config)
            cfg.int8_photographs = 4
        if "onnx" not in module.export_formats:
            raise UserError(
                f"ckpt={path} is a checkpoint of model {module.model_name!r}, which has no form without PyTorch; "
                "benchmark takes checkpoints of graders with a convolutional or transformer backbone"
            )
    return _describe(module, path, cfg.ckpt is not None, "student")


def make_twin(student: Student, scratch: Path) -> Student:
    """Make the student's twin with topology if it has none, and without if it has; untrained, for its times only.

    Args:
        student: A student.
        scratch: Folder for the twin's checkpoint.
    """
    import copy

    from retinai.config.build import build
    from retinai.data.topology import TopologySettings
    from retinai.modules.load import load_module

    module = load_module(student.checkpoint)
    own = {key: copy.deepcopy(value) for key, value in module.hparams.items() if key in _CLASSIFIER}
    own["backbone"]["weights"] = "none"
    own["topology"] = None if student.topology else TopologySettings().to_dict()
    twin = build({"_target_": "retinai.modules.classifier.Classifier", **own})
    twin.describe_data(module.data_config, model=module.model_name, split=module.split)
    path = scratch / "twin.ckpt"
    save(twin, path)
    return _describe(twin, path, False, "twin")


def _limit(cfg: DictConfig, own: dict[str, Any]) -> None:
    """Let a handful of photographs of every split do."""
    from omegaconf import OmegaConf, open_dict

    with open_dict(cfg):
        if cfg.get("data") is None and own:
            cfg.data = OmegaConf.create(own)
        if cfg.get("data") is not None:
            cfg.data.limit = 6


# What a classifier is made of; a student of teachers has more arguments, which only its training needs.
_CLASSIFIER = (
    "task", "preprocessing", "class_counts", "num_samples", "backbone", "attention", "tuning", "loss", "optimizer",
    "scheduler", "dropout", "test_time_flips", "seed",
)  # fmt: skip


def export_rows(
    student: Student, cfg: DictConfig, engines: Sequence[str], scratch: Path, say: Callable[[str], None]
) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """Export a student to every engine that is asked for.

    Args:
        student: The student or its twin.
        cfg: The composed configuration of `conf/benchmark.yaml`.
        engines: Of `ENGINES`.
        scratch: Folder for the folders.
        say: Called with a line before each export.

    Returns:
        A row per engine, PyTorch first; and key of the row -> `check` of its `model.json`, or `reason` where
        the export failed (the row is then among the rows all the same).
    """
    rows = [student.row("pytorch", "fp32", student.checkpoint)]
    checks: dict[str, dict[str, Any]] = {}
    for engine in engines:
        name, precision = engine.split("-")
        row = student.row(name, precision, scratch / f"{student.role}-{engine}")
        say(f"exporting: {row.name}")
        rows.append(row)
        try:
            checks[row.key] = _export(student, cfg, name, precision, Path(row.source))
        except UserError as fault:
            checks[row.key] = {"reason": str(fault)}
    return rows, checks


def _export(student: Student, cfg: DictConfig, engine: str, precision: str, out: Path) -> dict[str, Any]:
    """Write the folder as `retinai export` does; agreement is told and not judged here."""
    import importlib
    import json

    from omegaconf import OmegaConf

    from retinai.config.paths import conf_dir
    from retinai.export import FORMATS
    from retinai.modules.load import load_module

    settings: Any = OmegaConf.load(conf_dir() / "export.yaml")
    own = {str(k): settings[k] for k in settings if k not in ("defaults", "ckpt", "out")}
    wanted = {"ckpt": str(student.checkpoint), "out": str(out), "format": engine, "precision": precision, "force": True}
    given = {key: cfg.get(key) for key in ("data", "paths", "split", "int8_photographs")}
    place, _, function = FORMATS[engine].partition(":")
    with _quiet():
        module = load_module(student.checkpoint)
        export_cfg = OmegaConf.create(own | wanted | given)
        if not student.trained:
            _limit(export_cfg, module.data_config)  # there is no agreement to measure
        getattr(importlib.import_module(place), function)(export_cfg, module, out)
    return json.loads((out / "model.json").read_text(encoding="utf-8"))["check"]


def _untrained(cfg: DictConfig) -> FundusModule:
    from omegaconf import OmegaConf, open_dict

    from retinai.assemble import make_datamodule, make_module, plain
    from retinai.config.paths import conf_dir

    if cfg.get("data") is None:
        data = OmegaConf.load(conf_dir() / "data" / "synthetic.yaml")
        with open_dict(cfg):
            cfg.data = OmegaConf.merge(data, {"n": _COHORT, "size": _SIDE, "num_workers": 0})
    with _quiet():
        datamodule = make_datamodule(cfg)
        datamodule.setup()
        module = make_module(cfg, datamodule)
    module.describe_data(plain(cfg.data), model="classifier")
    return module.eval()


def save(module: FundusModule, path: Path) -> None:
    """Write a module as a checkpoint of retinai, whole or not at all."""
    from retinai.checkpoint_io import AtomicCheckpointIO
    from retinai.modules.checkpoint import write_extras

    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    write_extras(module, checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def _describe(module: FundusModule, path: Path, trained: bool, role: str) -> Student:
    name = f"{module.backbone_name} {'student' if role == 'student' else 'twin'}"
    return Student(path, name if trained else f"{name} (untrained)", trained, role, module.topology is not None,
                   module.preprocessing.input_size)  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what other commands would print off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
