"""int8 after training: ranges of activations measured on training photographs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.runtime.folder import PHOTOGRAPH
from retinai.runtime.openvino_signals import kept_signal_stack

# Operations that carry weights, in the words of ONNX and of OpenVINO.
_WEIGHTS = ("Conv", "Gemm", "MatMul", "Convolution", "GroupConvolution")
# What ONNX Runtime computes in int8; everything else stays as it is, the normalisation of the pixels and the sums of
# residual branches too: with these in int8 a network was slower and graded no better.
_QUANTISED = ["Conv", "Gemm", "MatMul", "Clip"]
# Operations of OpenVINO in activations whose values lie mostly on one side of zero, and a little on the other: int8
# with a zero point suits them, others do without.
_SKEWED = {"Elu", "Erf", "Gelu", "HSwish", "Sigmoid", "Swish", "Tanh"}

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule
    from retinai.data.loading.fields import SampleField


def calibration_inputs(
    datamodule: FundusDataModule, fields: Sequence[SampleField], count: int
) -> Iterator[dict[str, Any]]:
    """Yield the inputs that ranges are measured on: training photographs, one by one, not augmented.

    They are taken at even distances from the training part, which needs no seed and mixes the grades as they come.
    No photograph of the other parts is looked at, so that the check afterwards is an honest one.

    Args:
        datamodule: The data, set up.
        fields: What the network reads beside the photograph; the data set's samples carry it.
        count: How many photographs; all, if there are fewer.

    Yields:
        `photograph` uint8 (1, S, S, 3) and float32 (1, ...) for each field, by name.
    """
    dataset = datamodule.dataset("train")
    dataset.augmentation = None
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)):
        sample = dataset[int(index)]
        yield {PHOTOGRAPH: sample["image"][None], **{f.name: f.collate([sample[f.name]]) for f in fields}}


def quantise_onnx(source: Path, target: Path, inputs: Iterator[dict[str, Any]], reduce_range: bool = True) -> None:
    """Quantise an ONNX graph with ONNX Runtime's own tool: QDQ, weights per channel.

    Args:
        source: The float32 graph.
        target: The file to write.
        inputs: What ranges are measured on.
        reduce_range: Keep weights to -64..64, so that CPUs without VNNI cut off no sum, see `retinai.runtime.cpu`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            return next(inputs, None)

    prepared = source.with_name("prepared.onnx")
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=after_the_head(onnx.load(prepared)),
        )
    prepared.unlink()


def after_the_head(model: Any) -> list[str]:
    """Return the names of the nodes between the last weights of an ONNX graph and its output.

    There logits become probabilities: a few numbers, whose arithmetic costs nothing and bears no rounding.

    Args:
        model: An `onnx.ModelProto`.
    """
    maker = {output: node for node in model.graph.node for output in node.output}
    todo, names = [output.name for output in model.graph.output], dict[str, None]()
    while todo:
        node = maker.get(todo.pop())
        if node is not None and node.name not in names and node.op_type not in _WEIGHTS:
            names[node.name] = None
            todo += node.input
    return list(names)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' notes and bars off the terminal."""
    loggers = [logging.getLogger(name) for name in (None, "nncf", "torch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quantise_openvino(
    model: Any, inputs: Iterator[dict[str, Any]], transformer: bool, reduce_range: bool = True
) -> Any:
    """Quantise an `openvino.Model` with NNCF, weights per channel, biases corrected layer by layer.

    The weights that the pixels meet first stay in full precision: rounding them was most of the error of a small
    network, and they cost little.

    Args:
        model: The float32 model, simplified as by `retinai.export.openvino.convert`; NNCF finds no bias otherwise.
        inputs: What ranges are measured on.
        transformer: Whether it is one; NNCF then treats attention apart.
        reduce_range: Keep weights to -64..64, so that CPUs without VNNI cut off no sum, see `retinai.runtime.cpu`.

    Returns:
        The quantised model.
    """
    # NNCF tells its makers of every call; nothing leaves this machine unasked. Read when it is imported.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    kept = list(inputs)
    end = after_the_last_weights(model)
    activations = (o.get_type_name() for o in model.get_ops() if o.get_friendly_name() not in end)
    presets = nncf.QuantizationPreset
    preset = presets.PERFORMANCE if _SKEWED.isdisjoint(activations) else presets.MIXED  # zero points cost time
    overflow = nncf.OverflowFix.ENABLE if reduce_range else nncf.OverflowFix.DISABLE
    exact = nncf.IgnoredScope(names=[*first_weights(model), *end], validate=False)
    with _quiet(), kept_signal_stack():
        return nncf.quantize(
            model,
            nncf.Dataset(kept),
            preset=preset,
            subset_size=len(kept),
            fast_bias_correction=False,  # takes longer, and errs less on some networks
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=exact,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
        )


def first_weights(model: Any) -> list[str]:
    """Return the names of the operations with weights that a photograph meets first.

    Args:
        model: An `openvino.Model` with an input `photograph`.
    """
    todo, seen, names = [model.input(PHOTOGRAPH).get_node()], set[str](), list[str]()
    while todo:
        operation = todo.pop()
        name = operation.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if operation.get_type_name() in _WEIGHTS:
            names.append(name)
        else:
            todo += [target.get_node() for output in operation.outputs() for target in output.get_target_inputs()]
    return names


def after_the_last_weights(model: Any) -> list[str]:
    """Return the names of the operations between the last weights of a model and its output.

    Args:
        model: An `openvino.Model`.
    """
    todo, names = [result.input_value(0).get_node() for result in model.get_results()], dict[str, None]()
    while todo:
        operation = todo.pop()
        kind, name = operation.get_type_name(), operation.get_friendly_name()
        if name in names or kind in (*_WEIGHTS, "Parameter", "Constant"):
            continue
        names[name] = None
        todo += [value.get_node() for value in operation.input_values()]
    return list(names)
