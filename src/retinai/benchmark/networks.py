"""The networks of a benchmark as checkpoints, and the folders that they are exported to."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.benchmark.rows import BASELINES, Row, row_key, row_name
from retinai.errors import DataError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.modules.grading import GradingModule

ENGINES = ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8")


@dataclass(frozen=True)
class Network:
    """A checkpoint to measure.

    Args:
        checkpoint: Its file.
        name: What people call it.
        key: `student`, `twin` or a key of `BASELINES`.
        trained: Whether its agreement with the graders means anything.
        topology: Whether it reads persistence images.
        input_size: Side of its input in pixels.
    """

    checkpoint: Path
    name: str
    key: str
    trained: bool
    topology: bool
    input_size: int

    @property
    def role(self) -> str:
        """`student`, `twin` or `baseline`."""
        return "baseline" if self.key in BASELINES else self.key

    def row(self, engine: str, precision: str, source: Path) -> Row:
        """Return its row in an engine."""
        return Row(
            row_key(self.key, engine, precision), row_name(self.name, engine, precision, self.topology), self.role,
            self.key, engine, precision, str(source), self.input_size, self.topology,
        )  # fmt: skip


def open_student(cfg: DictConfig, scratch: Path) -> Network:
    """Return the student that the configuration asks for; an untrained one is made and saved first.

    Args:
        cfg: The composed configuration of `conf/benchmark.yaml`; for an untrained student its `data` is
            filled in.
        scratch: Folder for the checkpoint of an untrained one.

    Raises:
        CheckpointError: If the checkpoint is unusable.
        UserError: If it is of a kind that no engine can run.
    """
    from retinai.benchmark.untrained import save, untrained_module
    from retinai.modules.load import load_module

    if cfg.ckpt is None:
        path = scratch / "untrained.ckpt"
        with _quiet():
            module = untrained_module(cfg)
        save(module, path)
    else:
        path = Path(cfg.ckpt)
        module = load_module(path)
        if cfg.quick:
            _limit(cfg, module.data_config, path)
            cfg.int8_photographs = 4
        if not module.is_tensor_graph:
            raise UserError(
                f"ckpt={path} is a checkpoint of model {module.model_name!r}, which has no form without PyTorch; "
                "benchmark takes checkpoints of graders with a convolutional or transformer backbone"
            )
        module.task.require_probabilities(f"ckpt={path}", "benchmark measures grades and labels")
        _check_data(cfg, module, path)
    return _describe(module, path, f"{module.backbone_name} student", "student", trained=cfg.ckpt is not None)


def _check_data(cfg: DictConfig, module: GradingModule, path: Path) -> None:
    """Refuse data of another task and labels that cannot be read, before hours are spent on baselines."""
    from retinai.run.checkpoint_data import open_data

    if cfg.get("data") is not None:
        open_data(cfg, module, path)[0].checked_table()


def make_twin(student: Network, scratch: Path) -> Network:
    """Make the student's twin with topology if it has none, and without if it has; untrained, for its times only.

    Args:
        student: A student.
        scratch: Folder for the twin's checkpoint.
    """
    from retinai.benchmark.untrained import save, twin_module
    from retinai.modules.load import load_module

    twin = twin_module(load_module(student.checkpoint))
    save(twin, scratch / "twin.ckpt")
    return _describe(twin, scratch / "twin.ckpt", f"{twin.backbone_name} twin", "twin", trained=False)


def make_baseline(student: Network, key: str, scratch: Path) -> Network:
    """Make a network that the student is compared with, untrained, for its times only.

    Args:
        student: A student.
        key: Of `BASELINES`.
        scratch: Folder for the checkpoint.
    """
    from retinai.benchmark.untrained import baseline_module, save
    from retinai.modules.load import load_module

    module = baseline_module(load_module(student.checkpoint), key)
    save(module, scratch / f"{key}.ckpt")
    return _describe(module, scratch / f"{key}.ckpt", BASELINES[key][0], key, trained=False)


def _describe(module: GradingModule, path: Path, name: str, key: str, trained: bool) -> Network:
    from retinai.topology.branch import topology_of

    marked = name if trained or key in BASELINES else f"{name} (untrained)"  # of baselines the notes say it once
    return Network(path, marked, key, trained, topology_of(module) is not None, module.preprocessing.input_size)


def _limit(cfg: DictConfig, own: dict[str, Any], checkpoint: Path) -> None:
    """Let a few photographs of every split do."""
    from omegaconf import OmegaConf, open_dict

    from retinai.run.checkpoint_data import trained_on

    with open_dict(cfg):
        if cfg.get("data") is None and own:
            cfg.data = OmegaConf.create(trained_on(own, checkpoint))
        if cfg.get("data") is not None:
            cfg.data.limit = 6


def export_rows(
    network: Network, cfg: DictConfig, engines: Sequence[str], scratch: Path, say: Callable[[str], None]
) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """Export a network to every engine that is asked for.

    Args:
        network: The network.
        cfg: The composed configuration of `conf/benchmark.yaml`.
        engines: Of `ENGINES`.
        scratch: Folder for the folders.
        say: Called with a line before each export.

    Returns:
        A row per engine, PyTorch first; and key of the row -> `check` of its `model.json` on the split that chooses,
        with `test`, the same on the test photographs, or `test_reason` where there is none; or `reason` where the
        export failed (the row is then among the rows all the same).
    """
    rows = [network.row("pytorch", "fp32", network.checkpoint)]
    checks: dict[str, dict[str, Any]] = {}
    for engine in engines:
        name, precision = engine.split("-")
        row = network.row(name, precision, scratch / f"{network.key}-{engine}")
        say(f"exporting: {row.name}")
        rows.append(row)
        try:
            checks[row.key] = _export(network, cfg, name, precision, Path(row.source))
        except UserError as fault:
            checks[row.key] = {"reason": str(fault)}
    return rows, checks


def _export(network: Network, cfg: DictConfig, engine: str, precision: str, out: Path) -> dict[str, Any]:
    """Write the folder as `retinai export` does; agreement is told and not judged here."""
    import json

    from omegaconf import OmegaConf

    from retinai.config.paths import conf_dir
    from retinai.export.formats import GRAPH_EXPORTERS
    from retinai.modules.load import load_module

    settings: Any = OmegaConf.load(conf_dir() / "export.yaml")
    own = {str(k): settings[k] for k in settings if k not in ("defaults", "ckpt", "out")}
    wanted = {"ckpt": str(network.checkpoint), "out": str(out), "format": engine, "precision": precision, "force": True}
    given = {key: cfg.get(key) for key in ("data", "paths", "split", "int8_photographs", "int8_reduce_range")}
    with _quiet():
        module = load_module(network.checkpoint)
        export_cfg = OmegaConf.create(own | wanted | given)
        if not network.trained:
            _limit(export_cfg, module.data_config, network.checkpoint)  # there is no agreement to measure
        GRAPH_EXPORTERS[engine].write(export_cfg, module, out)
        told = _on_test(export_cfg, network, out) if network.trained else {}
    return json.loads((out / "model.json").read_text(encoding="utf-8"))["check"] | told


def _on_test(cfg: DictConfig, network: Network, folder: Path) -> dict[str, Any]:
    """Return how folder and checkpoint compare on the test photographs, which choose nothing."""
    from retinai.export.check import compare
    from retinai.modules.load import load_module
    from retinai.run.checkpoint_data import open_data

    module = load_module(network.checkpoint)  # the export changed the first one's memory format
    datamodule, _ = open_data(cfg, module, network.checkpoint)
    datamodule.setup()
    try:
        return {"test": compare(folder, module, datamodule, "test")}
    except DataError as fault:
        return {"test_reason": str(fault)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what other commands would print off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
