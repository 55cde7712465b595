"""int8 after training: ranges of activations measured on training photographs."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.runtime.folder import PHOTOGRAPH, TOPOLOGY

if TYPE_CHECKING:
    from retinai.data.base import FundusDataModule
    from retinai.data.topology import TopologySettings


def calibration_inputs(
    datamodule: FundusDataModule, topology: TopologySettings | None, count: int
) -> Iterator[dict[str, Any]]:
    """Yield the inputs that ranges are measured on: training photographs, one by one, not augmented.

    They are taken at even distances from the training part, which needs no seed and mixes the grades as they come.
    No photograph of the other parts is looked at, so that the check afterwards is an honest one.

    Args:
        datamodule: The data, set up.
        topology: Settings of the persistence images that the network reads, or None.
        count: How many photographs; all, if there are fewer.

    Yields:
        `photograph` uint8 (1, S, S, 3) and, with topology, `topology` float32 (1, K, R, R).
    """
    dataset = datamodule.dataset("train")
    dataset.augmentation = None
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)):
        pixels = dataset[int(index)]["image"]
        inputs = {PHOTOGRAPH: pixels[None]}
        if topology is not None:
            from retinai.data.topology import persistence_images

            inputs[TOPOLOGY] = persistence_images(pixels, topology)[None]
        yield inputs


def quantise_onnx(source: Path, target: Path, inputs: Iterator[dict[str, Any]]) -> None:
    """Quantise an ONNX graph with ONNX Runtime's own tool: QDQ, weights per channel.

    Args:
        source: The float32 graph.
        target: The file to write.
        inputs: What ranges are measured on.
    """
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
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # The steps before the first and after the last weights (normalisation, softmax) stay exact.
            op_types_to_quantize=[
                "Conv",
                "MatMul",
                "Gemm",
                "Add",
                "Mul",
                "Clip",
                "Relu",
                "GlobalAveragePool",
                "ReduceMean",
            ],
        )
    prepared.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's notes off the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def quantise_openvino(model: Any, inputs: Iterator[dict[str, Any]], transformer: bool) -> Any:
    """Quantise an `openvino.Model` with NNCF, weights per channel.

    Args:
        model: The float32 model.
        inputs: What ranges are measured on.
        transformer: Whether it is one; NNCF then treats attention apart.
    """
    import nncf

    kept = list(inputs)
    with _quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(kept),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(kept),
            fast_bias_correction=True,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        )
