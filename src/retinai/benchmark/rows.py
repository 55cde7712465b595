"""What is measured: a row per network and engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

ENGINE_NAMES = {"pytorch": "PyTorch eager", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
# Name -> timm's architecture, as published studies of students compare them.
BASELINES: dict[str, tuple[str, str]] = {
    "resnet101": ("ResNet-101", "resnet101"),
    "efficientnet_b5": ("EfficientNet-B5", "tf_efficientnet_b5"),
    "convnext_small": ("ConvNeXt-Small", "convnext_small"),
    "resnext101": ("ResNeXt-101 32x4d", "resnext101_32x4d"),
}
REFERENCE = "resnet101"


@dataclass(frozen=True)
class Row:
    """One network in one engine.

    Args:
        key: Short name, unique in a benchmark, see `row_key`.
        name: What people read.
        role: `student`, `twin` (the student's untrained twin with the other choice of topology) or `baseline`.
        network: `student`, `twin` or a key of `BASELINES`; rows of one network differ in engine and precision.
        engine: `pytorch`, `onnx` or `openvino`.
        precision: `fp32`, `bf16` or `int8`.
        source: A checkpoint, or an exported folder.
        input_size: Side of the square input in pixels.
        topology: Whether the network reads persistence images.
    """

    key: str
    name: str
    role: str
    network: str
    engine: str
    precision: str
    source: str
    input_size: int
    topology: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def row_key(network: str, engine: str, precision: str) -> str:
    """Return the key of a network's row, such as `resnet101-openvino-int8`; PyTorch has one precision, fp32."""
    return f"{network}-pytorch" if engine == "pytorch" else f"{network}-{engine}-{precision}"


def row_name(name: str, engine: str, precision: str, topology: bool) -> str:
    """Return what people read of a row of the network that they call `name`."""
    return f"{name}{' + topology' if topology else ''}, {engine_name(engine, precision)}"


def engine_name(engine: str, precision: str) -> str:
    """Return what people read of an engine and a precision, such as `OpenVINO int8`."""
    return ENGINE_NAMES[engine] + ("" if engine == "pytorch" else f" {precision}")
