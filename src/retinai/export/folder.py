"""Writing the exported folder: network, `model.json`, card; checked, then put in its place, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.export.card import write_card
from retinai.export.check import Tolerance, compare, tell_comparison
from retinai.export.graph import Graph, make_graph
from retinai.export.quantise import calibration_inputs
from retinai.files import write_json
from retinai.log import logger
from retinai.output_folders import whole_folder
from retinai.prediction.outside import DISTANCE, OUTSIDE
from retinai.runtime.cpu import this_cpu
from retinai.runtime.folder import FORMAT, MANIFEST, hash_file, manifest_digest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.ensembles.module import EnsembleGrader
    from retinai.modules.classifier import Classifier
    from retinai.modules.grading import GradingModule

# Writes the network's files into a folder and returns the name of the first. The inputs are those that int8 ranges
# are measured on; None leaves the network unquantised.
NetworkWriter = Callable[[Graph, Path, Iterator[dict[str, Any]] | None], str]
_CARD = "card.md"


def write_folder(cfg: DictConfig, module: Classifier | EnsembleGrader, out: Path, write: NetworkWriter) -> None:
    """Export a module, grade a split with both, and keep the folder if they agree.

    Args:
        cfg: The composed configuration of `conf/export.yaml`.
        module: The checkpoint's module.
        out: The folder; new or empty.
        write: Writes the network in the format that is wanted.

    Raises:
        UserError: If the network has no form in the format, or the folder grades otherwise than the checkpoint by
            more than the tolerance; nothing is left then.
    """
    from retinai.encoders.registry import weight_notes
    from retinai.ensembles.calibration import calibrate_ensemble
    from retinai.ensembles.opening import check_part, checkpoint_paths, ensemble_notes, members_of
    from retinai.run.checkpoint_data import open_data
    from retinai.run.console import print_notes

    datamodule, notes = open_data(cfg, module, checkpoint_paths(cfg.ckpt)[0])
    datamodule.setup()
    check_part(module, datamodule, str(cfg.split))
    told = [weight_notes(m.hparams.get("backbone") or {}, str(datamodule.name)) for m in members_of(module)]
    began = dict.fromkeys(note for notes_of_one in told for note in notes_of_one)
    chosen = calibrate_ensemble(module, cfg)
    print_notes([*datamodule.notes, *notes, *ensemble_notes(module, cfg.ckpt), *chosen, *began])
    calibration = None
    if cfg.precision == "int8":
        calibration = calibration_inputs(datamodule, module.photograph_fields(), int(cfg.int8_photographs))
    with whole_folder(out) as folder:
        # Arithmetic in 8 or 16 bits would blur a limit that was chosen in 32.
        graph = make_graph(module, distance=cfg.precision == "fp32")
        network = write(graph, folder, calibration)
        facts = _facts(cfg, graph, datamodule, network)
        facts |= module.write_more_files(folder, datamodule, str(cfg.split), str(cfg.format))
        _write_manifest(folder, facts)
        comparison = compare(folder, module, datamodule, str(cfg.split))
        tell_comparison(comparison)
        tolerance = Tolerance.choose(cfg)
        facts["check"] = comparison | {"tolerance": tolerance.to_dict()}
        _judge(comparison, tolerance, bool(cfg.force))
        write_card(folder / _CARD, facts)
        _write_manifest(folder, facts)


def _judge(comparison: dict[str, Any], tolerance: Tolerance, force: bool) -> None:
    faults = tolerance.faults(comparison)
    if not faults:
        return
    if not force:
        raise UserError(
            f"the exported network grades otherwise than the checkpoint: {'; '.join(faults)}; nothing was kept "
            "(another precision=, more int8_photographs=, or force=true to keep it all the same)"
        )
    logger.warning(f"kept although {'; '.join(faults)} (force=true)")


def _write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `model.json` with the SHA-256 of every other file and of itself."""
    names = sorted(file.name for file in folder.iterdir() if file.name != MANIFEST)
    content = facts | {"files": {name: hash_file(folder / name) for name in names}}
    write_json(folder / MANIFEST, content | {"sha256": manifest_digest(content)})


def _facts(
    cfg: DictConfig,
    graph: Graph,
    datamodule: FundusDataModule,
    network: str,
) -> dict[str, Any]:
    """Return what `model.json` says before the check."""
    from retinai import __version__
    from retinai.encoders.registry import weight_facts
    from retinai.ensembles.opening import checkpoint_paths, members_of
    from retinai.modules.checkpoint import plain
    from retinai.run.record_writer import git_revision

    module, members = graph.module, members_of(graph.module)
    shapes = {
        name: {"type": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}
        for name, value in graph.example().items()
    }
    digests = [hash_file(path) for path in checkpoint_paths(cfg.ckpt)]
    return {
        "format": FORMAT,
        "engine": str(cfg.format),
        "precision": str(cfg.precision),
        "network": network,
        "inputs": shapes,
        "outputs": {n: {"type": "float32", "shape": ["batch", *shape]} for n, shape in graph.outputs.items()},
        "task": module.task.to_dict(),
        "preprocessing": plain(module.preprocessing.to_dict()),
        "decision_rule": module.decision_rule,
        "fields": [plain(field.to_dict()) for field in module.photograph_fields()],
        "calibration": plain(module.calibration),
        "model": module.model_name,
        "backbone": module.backbone_name,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "weights": weight_facts(members[0].hparams.get("backbone") or {}),
        "trained_on": str((module.data_config or {}).get("name", "unknown")),
        "int8_photographs": int(cfg.int8_photographs) if cfg.precision == "int8" else None,
        "int8_reduce_range": bool(cfg.int8_reduce_range) if cfg.precision == "int8" else None,
        "checked_on": {
            "data": str(datamodule.name),
            "split": str(cfg.split),
            "data_fingerprint": datamodule.fingerprint,
            "cpu": this_cpu().to_dict(),
        },
        "checkpoint_sha256": digests[0],
        **({OUTSIDE: module.outside.facts()} if DISTANCE in graph.outputs else {}),
        **({"members": _members(members, digests)} if len(members) > 1 else {}),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "retinai": __version__,
        "git_revision": git_revision(),
        "versions": _versions(),
    }


def _members(members: Sequence[GradingModule], digests: Sequence[str]) -> list[dict[str, Any]]:
    """Return what `model.json` says of each network of an ensemble."""
    return [
        {
            "backbone": member.backbone_name,
            "checkpoint_sha256": digest,
            "temperature": None if member.calibration is None else float(member.calibration["temperature"]),
        }
        for member, digest in zip(members, digests, strict=True)
    ]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "gudhi", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an engine that this export did not need
    return found
