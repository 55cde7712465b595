"""The engines that run an exported network on a CPU, behind one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from retinai.config.devices import available_cores
from retinai.errors import MissingExtraError, UserError
from retinai.runtime.folder import PHOTOGRAPH
from retinai.runtime.openvino_signals import kept_signal_stack

# Name -> `type` (as numpy calls it) and `shape`; the first side is `batch` where it may be of any length.
Tensors = dict[str, dict[str, Any]]


class Engine(Protocol):
    """A loaded network."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return every output by name, float32: `probability` (B, C), of several networks also `members` (B, M, C).

        Args:
            inputs: `photograph`, prepared pixels, uint8, (B, S, S, 3), RGB, C-contiguous; and float32 (B, ...) for
                each field that the network reads beside it, by name.
        """
        ...

    def inputs(self) -> Tensors:
        """Return name, type and shape of each input."""
        ...

    def outputs(self) -> Tensors:
        """Return name, type and shape of each output."""
        ...


def open_engine(name: str, file: Path, precision: str, threads: int | None = None) -> Engine:
    """Load a network.

    Args:
        name: `onnx` or `openvino`.
        file: The network.
        precision: `fp32`, `bf16` or `int8`.
        threads: Threads of the network; None: as many as this process may use.

    Raises:
        MissingExtraError: If the engine is not installed.
        UserError: If the engine refuses the file.
    """
    count = threads or available_cores()
    return OnnxEngine(file, count) if name == "onnx" else OpenVinoEngine(file, precision, count)


class OnnxEngine:
    """A network in ONNX Runtime.

    Args:
        file: The `.onnx` file.
        threads: Threads of one run.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        UserError: If ONNX Runtime refuses the file.
    """

    def __init__(self, file: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise MissingExtraError("onnxruntime", "runtime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # every fault of a graph is an exception class of its own there
            raise UserError(
                f"ONNX Runtime cannot load {file}: {_first_line(error)}; copy the folder again, or export it anew"
            ) from error

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return every output, see `Engine`."""
        names = [node.name for node in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))

    def inputs(self) -> Tensors:
        """Return the inputs, see `Engine`."""
        return {node.name: _onnx_tensor(node) for node in self.session.get_inputs()}

    def outputs(self) -> Tensors:
        """Return the outputs, see `Engine`."""
        return {node.name: _onnx_tensor(node) for node in self.session.get_outputs()}


class OpenVinoEngine:
    """A network in OpenVINO, on the CPU.

    Args:
        file: The `.xml` file, its `.bin` beside it.
        precision: `bf16` computes in bfloat16 where the CPU can; otherwise, and in what is not int8, float32.
        threads: Threads of one run.

    Raises:
        MissingExtraError: If openvino is not installed.
        UserError: If OpenVINO refuses the file.
    """

    def __init__(self, file: Path, precision: str, threads: int) -> None:
        try:
            import openvino
        except ModuleNotFoundError:
            raise MissingExtraError("openvino", "runtime") from None
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._core = openvino.Core()
        load_cpu(self._core)
        self._requests: dict[int | None, Any] = {}
        try:
            self._model = self._core.read_model(str(file))
            self._request(None)
        except RuntimeError as error:
            raise UserError(
                f"OpenVINO cannot load {file}: {_first_line(error)}; copy the folder again, or export it anew"
            ) from error

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return every output, see `Engine`."""
        request = self._request(1 if len(inputs[PHOTOGRAPH]) == 1 else None)
        found = request.infer(dict(inputs), share_inputs=True)
        return {port.any_name: np.array(found[port.any_name]) for port in self._model.outputs}

    def inputs(self) -> Tensors:
        """Return the inputs, see `Engine`."""
        return {port.any_name: _openvino_tensor(port) for port in self._model.inputs}

    def outputs(self) -> Tensors:
        """Return the outputs, see `Engine`."""
        return {port.any_name: _openvino_tensor(port) for port in self._model.outputs}

    def _request(self, batch: int | None) -> Any:
        """Return a request for a batch of any size (None) or, compiled when it is first asked for, of a fixed one.

        One photograph at a time is what a clinic sends most, and a fixed shape is a tenth to a third faster.
        """
        if batch not in self._requests:
            model = self._model.clone()
            if batch is not None:
                model.reshape({value: [batch, *list(value.partial_shape)[1:]] for value in model.inputs})
            compiled = self._core.compile_model(model, "CPU", self._settings)
            self._requests[batch] = compiled.create_infer_request()
        return self._requests[batch]


def cpu_computes_bf16() -> bool:
    """Return whether OpenVINO finds bfloat16 arithmetic in this CPU; without it `bf16` runs in float32.

    Raises:
        MissingExtraError: If openvino is not installed.
    """
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "runtime") from None
    return "BF16" in load_cpu(openvino.Core())


def load_cpu(core: Any) -> Sequence[str]:
    """Let an `openvino.Core` load what computes on CPUs, without a trace in the process, and return what that can."""
    with kept_signal_stack():
        return core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _onnx_tensor(node: Any) -> dict[str, Any]:
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    sides = list(node.shape or [])
    return {"type": {"float": "float32"}.get(kind, kind), "shape": [_batch(sides), *sides[1:]]}


def _openvino_tensor(port: Any) -> dict[str, Any]:
    shape = port.get_partial_shape()
    # A network with a shape that is not known at all has no sides to ask for.
    sides = [] if shape.rank.is_dynamic else [s.get_length() if s.is_static else None for s in shape]
    kind = str(port.get_element_type().to_dtype())
    return {"type": kind, "shape": [_batch(sides), *sides[1:]]}


def _batch(sides: list[Any]) -> Any:
    """Return `batch` for a first side that is not fixed; ONNX names such a side, OpenVINO does not."""
    return sides[0] if sides and isinstance(sides[0], int) else "batch"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
