"""int8: measured on training photographs only, and never where logits become probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from module_factory import SIZE, make_classifier, section

from retinai.data.sources.aptos import AptosDataModule
from retinai.export.graph import PixelsToProbabilities
from retinai.export.onnx import write_graph
from retinai.export.openvino import convert
from retinai.export.quantise import (
    after_the_head,
    after_the_last_weights,
    calibration_inputs,
    first_weights,
    quantise_onnx,
    quantise_openvino,
)
from retinai.runtime.openvino_signals import kept_signal_stack


def make_data(root: Path, cache: Path) -> AptosDataModule:
    preprocessing = {"input_size": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3}
    options = {"num_workers": 0, "near_duplicates": False, "augment": {"transforms": [{"name": "HorizontalFlip"}]}}
    return AptosDataModule(name="aptos", root=str(root), preprocessing=preprocessing, cache=cache, **options)


def test_ranges_are_measured_on_training_photographs(synthetic_aptos: Path, tmp_path: Path) -> None:
    data = make_data(synthetic_aptos, tmp_path)
    train = data.dataset("train")
    train.augmentation = None
    own = {train[i]["image"].tobytes() for i in range(len(train))}
    inputs = [i["photograph"] for i in calibration_inputs(data, [], 10)]
    assert len(inputs) == 10 and all(i.shape == (1, SIZE, SIZE, 3) and i.dtype == np.uint8 for i in inputs)
    assert {i.tobytes() for i in inputs} <= own
    assert len(list(calibration_inputs(data, [], 10_000))) == len(train)


def test_int8_of_a_regression_is_close_and_its_last_steps_are_exact(tmp_path: Path) -> None:
    backbone = section("backbone", "resnet18", architecture="test_resnet", weights="none", input_size=SIZE)
    module = make_classifier(backbone=backbone, loss=section("loss", "regression")).eval()
    with torch.no_grad():
        module.network.head.weight.mul_(50)
    graph = PixelsToProbabilities(module).eval()
    write_graph(graph, tmp_path / "whole.onnx")
    pixels = [graph.example(12)["photograph"][i : i + 1].numpy() for i in range(12)]
    with torch.inference_mode():
        expected = np.concatenate([graph(torch.from_numpy(p)).numpy() for p in pixels])
    assert expected.std(axis=0).max() > 0.01

    quantise_onnx(tmp_path / "whole.onnx", tmp_path / "int8.onnx", iter([{"photograph": p} for p in pixels]))
    written = onnx.load(tmp_path / "int8.onnx")
    kinds = [node.op_type for node in written.graph.node]
    assert "QuantizeLinear" in kinds[: kinds.index("Gemm")] and "QuantizeLinear" not in kinds[kinds.index("Erf") :]
    assert "Erf" in [node.op_type for node in written.graph.node if node.name in after_the_head(written)]
    session = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"))
    got = np.concatenate([session.run(None, {"photograph": p})[0] for p in pixels])
    assert 1e-6 < np.abs(got - expected).max() < 0.08  # not exact, or nothing was quantised

    import openvino

    model = quantise_openvino(convert(graph, tmp_path), iter([{"photograph": p} for p in pixels]), transformer=False)
    fakes = [o.get_friendly_name() for o in model.get_ordered_ops() if o.get_type_name() == "FakeQuantize"]
    assert fakes and not set(fakes) & set(after_the_last_weights(model))
    convolutions = [o for o in model.get_ordered_ops() if o.get_type_name() == "Convolution"]
    assert not weights_in_int8(convolutions[0]) and all(weights_in_int8(o) for o in convolutions[1:])
    with kept_signal_stack():
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = np.concatenate([compiled(p)["probability"] for p in pixels])
    assert 1e-6 < np.abs(got - expected).max() < 0.08


def weights_in_int8(operation: Any) -> bool:
    weights = operation.input_value(1).get_node()
    return weights.get_type_name() != "Constant"  # a constant of 8 bits needs its scale


def test_quantisation_finds_every_bias_and_silu(tmp_path: Path) -> None:
    backbone = section("backbone", "resnet18", architecture="test_efficientnet", weights="none", input_size=SIZE)
    module = make_classifier(backbone=backbone).eval()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)  # untrained it is zero, and left out
    model = convert(PixelsToProbabilities(module).eval(), tmp_path)
    convolutions = [o for o in model.get_ordered_ops() if o.get_type_name() in ("Convolution", "GroupConvolution")]
    assert "Swish" in [o.get_type_name() for o in model.get_ops()]
    assert first_weights(model) == [convolutions[0].get_friendly_name()]
    for convolution in convolutions:
        readers = [target.get_node() for target in convolution.output(0).get_target_inputs()]
        (add,) = (reader for reader in readers if reader.get_type_name() == "Add")
        assert "Constant" in [value.get_node().get_type_name() for value in add.input_values()]
