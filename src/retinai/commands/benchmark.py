"""`retinai benchmark`: how fast a student grades on a CPU, beside the networks that studies compare it with."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import MissingExtraError
from retinai.log import logger
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

    from retinai.benchmark.networks import Network
    from retinai.benchmark.rows import Row

_PACKAGES = ("torch", "timm", "onnxruntime", "openvino", "nncf", "gudhi", "opencv-python-headless", "numpy")
_ENGINE_KEYS = ("students", "untrained", "reference", "baseline_engines")


def run(cfg: DictConfig) -> None:
    """Export the student, measure all rows in turns, write `benchmark.json`, the table and the figure.

    Args:
        cfg: The composed configuration of `conf/benchmark.yaml`, already checked.
    """
    from retinai.run.results import held_or_new, named_folder

    _check_options(cfg)
    default = _folder(cfg)
    with nullcontext() if cfg.run_dir is None else named_folder(lambda: _folder(cfg), "retinai benchmark") as folder:
        result = _benchmark(cfg)
        with held_or_new(folder, default, "retinai benchmark") as place:
            _write(place, cfg, result)


def _benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Return the content of `benchmark.json`."""
    import tempfile

    from retinai.benchmark.networks import open_student
    from retinai.benchmark.summary import summarise

    load_before = _load()
    with tempfile.TemporaryDirectory(prefix="retinai-benchmark-") as place:
        scratch = Path(place)
        photographs = _write_photographs(cfg, scratch)
        student = open_student(cfg, scratch)
        rows, checks = _export_all(cfg, student, scratch)
        measured = _measure(cfg, [row for row in rows if "reason" not in checks.get(row.key, {})], photographs)
    measured = _in_order(rows, measured, checks)
    return {
        **summarise(measured, checks, student.trained),
        "student": {"checkpoint": None if cfg.ckpt is None else str(cfg.ckpt), "name": student.name},
        "threads": int(cfg.threads),
        "quick": bool(cfg.quick),
        "split": str(cfg.split),
        "machine": _machine(load_before),
        "notes": _notes(cfg, student, checks),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _track(folder: Path, cfg: DictConfig, result: dict[str, Any]) -> None:
    """Tell W&B, in the group of the run that trained the student; an untrained one has none."""
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.factories import plain
    from retinai.tracking.lineage import checkpoint_item
    from retinai.tracking.measurement import Measurement, flat, tell

    def measured() -> Measurement:
        from retinai.tracking.wandb_tables import table

        rows = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in result["rows"]]
        numbers = {k: v for row in result["rows"] for k, v in flat(row, f"benchmark/{row['key']}").items()}
        facts = {key: result[key] for key in ("threads", "quick", "split", "machine")}
        taken = [] if cfg.ckpt is None else [checkpoint_item(Path(cfg.ckpt))]
        name = {"student": result["student"]["name"]}
        return Measurement(
            "benchmark", folder, facts | name, numbers, lambda _: [lambda: table("benchmark/rows", rows)], taken=taken
        )

    tell(plain(cfg.logger), measured, [] if cfg.ckpt is None else [run_folder_of(Path(cfg.ckpt))])


def _export_all(cfg: DictConfig, student: Network, scratch: Path) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """Export the student, its twin and the networks beside; return all rows, and what the exports say of agreement."""
    from retinai.benchmark.networks import export_rows, make_baseline, make_twin
    from retinai.benchmark.rows import REFERENCE

    rows, checks = export_rows(student, cfg, list(cfg.students), scratch, logger.info)
    others = [(make_twin(student, scratch), list(cfg.untrained))] if cfg.untrained else []
    for key in cfg.baselines:
        engines = cfg.reference if key == REFERENCE else cfg.baseline_engines
        others.append((make_baseline(student, str(key), scratch), list(engines)))
    for network, engines in others:
        more, told = export_rows(network, cfg, engines, scratch, logger.info)
        # The metric of an untrained network means nothing, but an export that failed is told.
        rows, checks = rows + more, checks | {key: check for key, check in told.items() if "reason" in check}
    return rows, checks


def _write_photographs(cfg: DictConfig, scratch: Path) -> list[Path]:
    from retinai.benchmark.photographs import jpeg_photographs

    jpegs = jpeg_photographs(cfg.images, 2 if cfg.quick else 8)
    paths = [scratch / f"{number}.jpg" for number in range(len(jpegs))]
    for path, data in zip(paths, jpegs, strict=True):
        path.write_bytes(data)
    return paths


def _measure(cfg: DictConfig, rows: Sequence[Row], photographs: Sequence[Path]) -> list[Any]:
    from retinai.benchmark.rounds import TURN, measure

    plan = [(1, 2), (2, 2)] if cfg.quick else [(1, int(cfg.rounds)), (int(cfg.batch), int(cfg.rounds_batch))]
    with _progress() as show:
        turn = 0.0 if cfg.quick else TURN
        return measure(rows, photographs, threads=int(cfg.threads), plan=plan, turn=turn, progress=show)


def _in_order(rows: Sequence[Row], measured: Sequence[Any], checks: dict[str, dict[str, Any]]) -> list[Any]:
    """Return a measurement per row, those whose export failed with the reason."""
    from retinai.benchmark.rounds import Measured

    done = {one.row.key: one for one in measured}
    return [done.get(row.key) or Measured(row, reason=checks[row.key]["reason"]) for row in rows]


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


def _write(folder: Path, cfg: DictConfig, result: dict[str, Any]) -> None:
    """Write results, table and figure, and tell W&B."""
    from retinai.benchmark.figure import speed_figure
    from retinai.benchmark.table import to_markdown
    from retinai.files import write_json, write_text
    from retinai.reports.style import save_figure

    text = to_markdown(result)
    if any(not row["reason"] for row in result["rows"]):
        save_figure(speed_figure(result), folder / "benchmark.png")
    write_text(folder / "benchmark.md", text)
    write_json(folder / "benchmark.json", result)
    logger.info(text)
    logger.info(f"run folder: {folder}")
    _track(folder, cfg, result)


def _check_options(cfg: DictConfig) -> None:
    from importlib.util import find_spec

    needed = {"openvino": "openvino", "onnx": "onnxruntime"}
    for package in {needed[str(name).split("-")[0]] for key in _ENGINE_KEYS for name in cfg[key]}:
        if find_spec(package) is None:
            raise MissingExtraError(package, "export")
    if cfg.untrained and find_spec("gudhi") is None:
        raise MissingExtraError("gudhi", "topology")


def _folder(cfg: DictConfig) -> Path:
    if cfg.run_dir is None:
        check_folder(cfg.paths.outputs, "paths.outputs")
        return Path(cfg.paths.outputs) / "benchmark" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return check_new(Path(str(cfg.run_dir)), "run_dir", ("benchmark.json",), cfg.overwrite)


def _machine(load_before: str) -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # an engine that was not asked for
    from retinai.runtime.cpu import this_cpu

    return {
        "processor": str(this_cpu()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "openmp_waits": os.environ.get("OMP_WAIT_POLICY", "default"),
        "load_before": load_before,
        "load_after": _load(),
        "versions": versions,
    }


def _load() -> str:
    """Return the machine's load of the last minute: processes that ran or waited for a processor."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _notes(cfg: DictConfig, student: Network, checks: dict[str, dict[str, Any]]) -> list[str]:
    notes = [
        "Times are medians of rounds with the fastest and the slowest round, per photograph; the rows were measured "
        "in turns, each in its own process. Ratios compare each round with the same round of the other row.",
        "PyTorch rows run in the memory format, channels last or contiguous, in which they were faster, each network "
        "and batch by itself. int8 weights keep to "
        f"{'7 bits, for any CPU' if cfg.int8_reduce_range else '8 bits, for CPUs with VNNI or AMX'}.",
        "The networks beside the student are untrained, of the same task, and get the same pixels: their times count.",
        "GMAC: 10^9 multiply-adds of one photograph (many papers call these GFLOPs; as operations they are twice as "
        "many). Peak memory is that of the row's process, libraries included. The file of a PyTorch row is its "
        "weights. PyTorch's network alone starts from normalised photographs, that of the others from pixels.",
    ]
    if student.trained:
        notes.append(
            f"The row was chosen by its metric on the {cfg.split} photographs; those of the test chose nothing."
        )
    else:
        notes.append(
            "The student is untrained: its times count, its grades mean nothing. Give a trained one with ckpt=."
        )
    notes += sorted(
        {f"No test figures: {check['test_reason']}." for check in checks.values() if "test_reason" in check}
    )
    if cfg.untrained:
        notes.append("Twins are untrained networks like the student, with topology where it has none, for their times.")
    if cfg.quick:
        notes.append("quick=true: two rounds of one call each, to see that everything works; the times say nothing.")
    return notes
