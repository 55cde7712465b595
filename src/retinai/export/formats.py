"""The formats of `retinai export`: those of any network that is a graph of tensors, and a module's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.ensembles.module import EnsembleGrader
from retinai.modules.exporter import Exporter

if TYPE_CHECKING:
    from retinai.modules.grading import GradingModule


def _write_onnx(cfg: Any, module: Any, out: Path) -> None:
    from retinai.export.onnx import export

    export(cfg, module, out)


def _write_openvino(cfg: Any, module: Any, out: Path) -> None:
    from retinai.export.openvino import export

    export(cfg, module, out)


GRAPH_EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter(_write_onnx, ("fp32", "int8")),
    "openvino": Exporter(_write_openvino, ("fp32", "bf16", "int8")),
}

# Quantising several networks in one graph was not measured, so it is not offered.
ENSEMBLE_EXPORTERS = {name: Exporter(one.write, ("fp32",)) for name, one in GRAPH_EXPORTERS.items()}


def exporters_of(module: GradingModule) -> dict[str, Exporter]:
    """Return what a module can be exported to, by format."""
    if isinstance(module, EnsembleGrader):
        return ENSEMBLE_EXPORTERS if all(member.is_tensor_graph for member in module.members) else {}
    return {**(GRAPH_EXPORTERS if module.is_tensor_graph else {}), **module.exporters()}
