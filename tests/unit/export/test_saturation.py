"""int8 without VNNI: pairs of products in 16 bits cut off sums of 8-bit weights, and none of 7-bit ones."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from module_factory import SIZE, make_classifier, section
from onnx import numpy_helper

from retinai.export.graph import PixelsToProbabilities
from retinai.export.onnx import write_graph
from retinai.export.openvino import convert
from retinai.export.quantise import first_weights, quantise_onnx, quantise_openvino


def pairs_in_16_bits(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what VPMADDUBSW makes of u8 (N,) and s8 (N,): sums of neighbouring products, cut off at 16 bits."""
    products = activations.astype(np.int64) * weights.astype(np.int64)
    return np.clip(products[0::2] + products[1::2], -(2**15), 2**15 - 1)


def worst_error(weights: np.ndarray) -> int:
    """Return how much the worst activations lose between neighbouring weights of each output, (O, ...) int8."""
    rows = weights.reshape(len(weights), -1).astype(np.int64)
    rows = rows[:, : rows.shape[1] // 2 * 2].reshape(-1)
    worst = 0
    for sign in (1, -1):  # full activations where the weights have one sign, none elsewhere
        activations = np.where(sign * rows > 0, 255, 0)
        exact = (activations * rows)[0::2] + (activations * rows)[1::2]
        worst = max(worst, int(np.abs(exact - pairs_in_16_bits(activations, rows)).max(initial=0)))
    return worst


def test_the_sums_by_hand() -> None:
    full, seven = np.array([127, 127, -127, -127]), np.array([64, 64, -64, -64])
    light = np.full(4, 255)
    assert pairs_in_16_bits(light, full).tolist() == [32_767, -32_768]  # 64,770 cut off
    assert pairs_in_16_bits(light, seven).tolist() == [32_640, -32_640]  # 2 * 255 * 64, whole
    assert worst_error(full[None]) == 64_770 - 32_767 and worst_error(seven[None]) == 0


@pytest.fixture(scope="module")
def graph() -> PixelsToProbabilities:
    backbone = section("backbone", "resnet18", architecture="test_resnet", weights="none", input_size=SIZE)
    return PixelsToProbabilities(make_classifier(backbone=backbone).eval()).eval()


@pytest.mark.parametrize("reduce_range", [True, False])
def test_onnx_weights(graph: PixelsToProbabilities, tmp_path: Path, reduce_range: bool) -> None:
    write_graph(graph, tmp_path / "whole.onnx")
    inputs = iter([{"photograph": graph.example(1)["photograph"].numpy()}])
    quantise_onnx(tmp_path / "whole.onnx", tmp_path / "int8.onnx", inputs, reduce_range=reduce_range)
    initializers = onnx.load(tmp_path / "int8.onnx").graph.initializer
    weights = [numpy_helper.to_array(value) for value in initializers if value.data_type == onnx.TensorProto.INT8]
    weights = [value for value in weights if value.ndim >= 2]
    assert len(weights) > 5
    check(weights, reduce_range)


@pytest.mark.parametrize("reduce_range", [True, False])
def test_openvino_weights(graph: PixelsToProbabilities, tmp_path: Path, reduce_range: bool) -> None:
    inputs = iter([{"photograph": graph.example(1)["photograph"].numpy()}])
    model = quantise_openvino(convert(graph, tmp_path), inputs, transformer=False, reduce_range=reduce_range)
    assert first_weights(model)
    constants = [o for o in model.get_ops() if o.get_type_name() == "Constant" and o.get_element_type().is_integral()]
    weights = [np.asarray(o.data) for o in constants if o.get_element_type().to_dtype() == np.int8]
    weights = [value for value in weights if value.ndim >= 2 and value.size > 1]
    assert len(weights) > 5
    check(weights, reduce_range)


def check(weights: list[np.ndarray], reduce_range: bool) -> None:
    largest = max(int(np.abs(value.astype(int)).max()) for value in weights)
    assert largest <= 64 if reduce_range else largest >= 126
    assert (max(map(worst_error, weights)) == 0) == reduce_range


ENGINE = """
import sys, numpy, openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
print(float(model(numpy.full((1, 64, 8, 8), 255, numpy.float32))[0].max()))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the fault is of x86")
@pytest.mark.parametrize(("weight", "found"), [(127, 32 * 32_767), (64, 64 * 255 * 64)])
def test_an_engine_without_vnni_cuts_off_what_the_hand_calculation_says(
    tmp_path: Path, weight: int, found: int
) -> None:
    """OpenVINO, told to use AVX2 only: 64 products of 255 and the weight, added in 32 pairs."""
    add = onnx.helper.make_node
    nodes = [
        add("QuantizeLinear", ["x", "one", "u0"], ["q"]),
        add("DequantizeLinear", ["q", "one", "u0"], ["d"]),
        add("DequantizeLinear", ["w", "one", "s0"], ["v"]),
        add("Conv", ["d", "v"], ["y"]),
    ]
    values = {"one": np.float32(1), "u0": np.uint8(0), "s0": np.int8(0), "w": np.full((16, 64, 1, 1), weight, np.int8)}
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, n, 8, 8]) for name, n in (("x", 64), ("y", 16)))
    whole = onnx.helper.make_graph(nodes, "pairs", [x], [y], constants)
    file = tmp_path / "pairs.onnx"
    onnx.save(onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), file)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, file], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == found
