"""OpenVINO: the ONNX graph in its own form: float32, for bfloat16 arithmetic, or quantised to int8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.export.graph import Graph
from retinai.export.onnx import refusal, require_packages, write_graph

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.ensembles.module import EnsembleGrader
    from retinai.modules.classifier import Classifier

_NETWORK = "network.xml"


def export(cfg: DictConfig, module: Classifier | EnsembleGrader, out: Path) -> None:
    """Write a folder for OpenVINO.

    Args:
        cfg: The composed configuration of `conf/export.yaml`.
        module: The checkpoint's module.
        out: The folder.

    Raises:
        MissingExtraError: If a package of the extra `export` is missing.
        UserError: If ONNX or OpenVINO lacks an operator of the network, or the folder grades otherwise than the
            checkpoint.
    """
    from retinai.export.folder import write_folder
    from retinai.export.quantise import quantise_openvino

    require_packages("onnx", "onnxscript", "openvino", *(["nncf"] if cfg.precision == "int8" else []))

    def write(graph: Graph, folder: Path, calibration: Iterator[dict[str, Any]] | None) -> str:
        import openvino

        model = convert(graph, folder)
        if calibration is not None:
            attends = graph.module.network.encoder.tokens
            reduced = bool(cfg.int8_reduce_range)
            model = quantise_openvino(model, calibration, transformer=attends, reduce_range=reduced)
        # bfloat16 keeps 8 bits of what float16 stores, so the file is half the size and nothing is lost.
        openvino.save_model(model, folder / _NETWORK, compress_to_fp16=cfg.precision == "bf16")
        return _NETWORK

    write_folder(cfg, module, out, write)


def convert(graph: Graph, folder: Path) -> Any:
    """Return the graph as an `openvino.Model`, simplified.

    Args:
        graph: In evaluation mode.
        folder: For the ONNX graph on the way, which is removed.

    Raises:
        UserError: If ONNX or OpenVINO has no form for an operator; names it.
    """
    import openvino

    whole = folder / "whole.onnx"
    write_graph(graph, whole)
    try:
        model = openvino.Core().read_model(whole)  # `convert_model` would tell its makers of every call
    except RuntimeError as error:
        sentence = refusal("openvino", error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    finally:
        whole.unlink()
    inputs = [port.any_name for port in model.inputs]
    _simplify(model)
    # Where an operation falls away, what it read or gave takes over its name as well.
    for port, name in zip([*model.inputs, *model.outputs], [*inputs, *graph.outputs], strict=True):
        port.get_tensor().set_names({name})
    return model


def _simplify(model: Any) -> None:
    """Fold constants and fuse what is one operation, in place, as `openvino.convert_model` does after reading.

    Read from ONNX as it stands, every bias is a reshape and every SiLU two operations: quantisation then takes the
    first for none, corrects nothing, and rounds between the others, which costs time and accuracy.
    """
    from openvino._offline_transformations import apply_moc_transformations  # has no other name

    apply_moc_transformations(model, cf=True)
