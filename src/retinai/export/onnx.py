"""ONNX: the graph by PyTorch's exporter, for ONNX Runtime; OpenVINO converts the same graph."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import MissingExtraError, UserError
from retinai.export.graph import Graph

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from retinai.ensembles.module import EnsembleGrader
    from retinai.modules.classifier import Classifier

OPSET = 20  # ONNX Runtime of this year and of the two before it
_NETWORK = "network.onnx"


def export(cfg: DictConfig, module: Classifier | EnsembleGrader, out: Path) -> None:
    """Write a folder for ONNX Runtime.

    Args:
        cfg: The composed configuration of `conf/export.yaml`.
        module: The checkpoint's module.
        out: The folder.

    Raises:
        MissingExtraError: If a package of the extra `export` is missing.
        UserError: If ONNX lacks an operator of the network, or the folder grades otherwise than the checkpoint.
    """
    from retinai.export.folder import write_folder
    from retinai.export.quantise import quantise_onnx

    require_packages("onnx", "onnxscript", "onnxruntime")

    def write(graph: Graph, folder: Path, calibration: Iterator[dict[str, Any]] | None) -> str:
        if calibration is None:
            write_graph(graph, folder / _NETWORK)
        else:
            whole = folder / "whole.onnx"
            write_graph(graph, whole)
            quantise_onnx(whole, folder / _NETWORK, calibration, reduce_range=bool(cfg.int8_reduce_range))
            whole.unlink()
        return _NETWORK

    write_folder(cfg, module, out, write)


def require_packages(*names: str) -> None:
    """Check that packages are installed.

    Raises:
        MissingExtraError: Names the first that is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, "export")


def write_graph(graph: Graph, file: Path) -> None:
    """Write the graph as one ONNX file with a dynamic batch.

    Args:
        graph: In evaluation mode.
        file: The file to write.

    Raises:
        UserError: If ONNX has no form for an operator of the network; names it.
    """
    write_network(graph, graph.example(), list(graph.outputs), file)


def write_network(network: torch.nn.Module, inputs: dict[str, Any], outputs: list[str], file: Path) -> None:
    """Write a network as one ONNX file with a dynamic batch.

    Args:
        network: In evaluation mode; takes the inputs in order, the first alone and the others as `*values`.
        inputs: Examples by name, of two photographs.
        outputs: Names.
        file: The file to write.

    Raises:
        UserError: If ONNX has no form for an operator of the network; names it.
    """
    import torch

    batch, beside = torch.export.Dim("batch"), list(inputs)[1:]
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=({0: batch}, *([tuple({0: batch} for _ in beside)] if beside else [])),
                custom_translation_table={torch.ops.aten.erf.default: _error_function},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        sentence = refusal("onnx", error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    if program is None:
        raise RuntimeError("PyTorch's exporter returned no graph")
    _forget_origins(program.model)
    program.save(str(file), external_data=False)


def refusal(format: str, error: BaseException) -> str | None:
    """Return the sentence that says which operator a format cannot hold; None if the error says nothing of the kind.

    Args:
        format: `onnx` or `openvino`.
        error: What the exporter raised, with its causes.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__
    text = "\n".join(map(str, causes))
    # Of PyTorch's exporter, of ONNX Runtime, of OpenVINO.
    found = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text)
    found = found or re.search(r"Could not find an implementation for (\w+)\(", text)
    found = found or re.search(r"does not support the following ONNX operations: (\S+)", text)
    if found is None and not any("DataDependent" in type(cause).__name__ for cause in causes):
        return None
    what = f"the operator {found[1]!r}" if found else "a step whose course depends on the photograph"
    return (
        f"format={format} cannot hold {what}, which the network of this checkpoint uses; "
        "train with another backbone or attention, or grade with the checkpoint itself"
    )


def _error_function(x: Any) -> Any:
    """Translate erf: ONNX Runtime has it in single precision only, and regression asks for double."""
    import onnxscript

    operators: Any = onnxscript.opset20  # its stubs know tensors of one type at a time only
    return operators.CastLike(operators.Erf(operators.Cast(x, to=1)), x)


def _forget_origins(model: Any) -> None:
    """Take out what the exporter notes of every node: lines of source code and the paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its notes on optimisation off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
