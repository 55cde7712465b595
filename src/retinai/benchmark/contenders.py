"""The networks of a benchmark behind one face: run alone, and from JPEG bytes to grades."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.benchmark.rows import Row
from retinai.data.loading.fields import FieldSample
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.retina import prepare_retina
from retinai.metrics.decisions import decide
from retinai.prediction.calibration.temperature import calibrated_probabilities

if TYPE_CHECKING:
    from retinai.data.loading.fields import SampleField

# What a network reads beside the photographs, by name: float32 (B, ...).
Values = Mapping[str, np.ndarray]

# Calls that a memory format is tried with, or as many as fit into these seconds.
_TRIES, _SECONDS = 5, 1.0
STAGES = ("decode", "prepare", "topology", "network", "decide")


class Contender:
    """A loaded network.

    Attributes:
        preprocessing: How a photograph becomes its input.
        fields: What it reads beside the photograph.
        decision_rule: How its probabilities become decisions.
        calibration: Of its checkpoint or folder, or None.
    """

    preprocessing: Preprocessing
    fields: Sequence[SampleField] = ()
    decision_rule = "argmax"
    calibration: dict[str, Any] | None = None

    def alone(self, batch: int) -> Callable[[], Any]:
        """Return a function that runs the network once on inputs that lie ready in memory."""
        raise NotImplementedError

    def probabilities(self, pixels: np.ndarray, values: Values) -> np.ndarray:
        """Return class probabilities (B, C) of prepared pixels, uint8 (B, S, S, 3)."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return `parameters`, `macs` (None where they are those of the checkpoint), `bytes` of the files.

        PyTorch adds `memory_formats`: batch -> `channels_last` or `contiguous`.
        """
        raise NotImplementedError

    def grade(self, jpegs: Sequence[bytes]) -> tuple[np.ndarray, dict[str, float]]:
        """Take photographs from JPEG bytes to decisions.

        Args:
            jpegs: One batch.

        Returns:
            The decisions, and the seconds of each stage, for the whole batch.
        """
        spent = dict.fromkeys(STAGES, 0.0)
        pixels: list[np.ndarray] = []
        values: dict[str, list[Any]] = {field.name: [] for field in self.fields}
        for number, data in enumerate(jpegs):
            begin = time.perf_counter()
            original = Original(data, f"photograph {number}")
            original.copy_for(self.preprocessing)
            decoded = time.perf_counter()
            pixels.append(prepare_retina(original, self.preprocessing))
            prepared = time.perf_counter()
            sample = FieldSample(str(number), "", self.preprocessing, original=original, photograph=pixels[-1])
            for field in self.fields:
                values[field.name].append(field.load(sample))
            spent["decode"] += decoded - begin
            spent["prepare"] += prepared - decoded
            spent["topology"] += time.perf_counter() - prepared
        begin = time.perf_counter()
        batch = {field.name: field.collate(values[field.name]) for field in self.fields}
        probabilities = self.probabilities(np.stack(pixels), batch)
        spent["network"] = time.perf_counter() - begin
        begin = time.perf_counter()
        decisions = decide(probabilities, self.decision_rule)
        calibrated_probabilities(probabilities, self.calibration)
        spent["decide"] = time.perf_counter() - begin
        return decisions, spent


class FolderContender(Contender):
    """An exported folder in its engine, without PyTorch.

    Args:
        folder: Of `retinai export`.
        threads: Threads of the network.
    """

    def __init__(self, folder: str, threads: int) -> None:
        from retinai.runtime import ExportedModel

        self.grader = ExportedModel(folder, threads)
        self.folder = Path(folder)
        self.preprocessing, self.fields = self.grader.preprocessing, self.grader.folder.fields
        self.decision_rule, self.calibration = self.grader.decision_rule, self.grader.calibration

    def alone(self, batch: int) -> Callable[[], Any]:
        """Return a function that runs the network once."""
        pixels, values = random_inputs(batch, self.preprocessing.input_size, self.fields)
        return lambda: self.grader.probabilities(pixels, values)

    def probabilities(self, pixels: np.ndarray, values: Values) -> np.ndarray:
        """Return class probabilities, see `Contender`."""
        return self.grader.probabilities(pixels, values)

    def facts(self) -> dict[str, Any]:
        """Return the facts; the bytes are those of the network's files."""
        size = sum(file.stat().st_size for file in self.folder.glob("network*"))
        return {"parameters": self.grader.folder.facts.get("parameters"), "macs": None, "bytes": size}


class TorchContender(Contender):
    """A checkpoint of retinai in PyTorch, in eager mode and float32.

    Convolutions are faster in one memory format or the other, depending on network, batch and CPU. Every network is
    tried in both, at every size of batch, and runs in the one in which it was faster.

    Args:
        checkpoint: A checkpoint.
    """

    def __init__(self, checkpoint: str) -> None:
        import torch

        from retinai.modules.load import load_module

        module: Any = load_module(checkpoint)
        self.network = module.network
        self.predict: Callable[..., Any] = module.predict_probabilities
        self.preprocessing, self.fields = module.preprocessing, module.photograph_fields()
        self.decision_rule, self.calibration = module.decision_rule, module.calibration
        self.memory_formats: dict[int, str] = {}
        self._mode = torch.inference_mode

    def _inputs(self, pixels: np.ndarray, values: Values) -> tuple[Any, ...]:
        import torch

        arrays = normalise(pixels, self.preprocessing), *(values[field.name] for field in self.fields)
        return tuple(torch.from_numpy(array) for array in arrays)

    def alone(self, batch: int) -> Callable[[], Any]:
        """Return a function that runs the network once, on normalised photographs, in its faster memory format.

        The format holds for `probabilities` too, until this is called with another batch.
        """
        inputs = self._inputs(*random_inputs(batch, self.preprocessing.input_size, self.fields))

        def run() -> Any:
            with self._mode():
                return self.predict(*inputs)

        self.memory_formats[batch] = self._choose_format(run)
        return run

    def _choose_format(self, run: Callable[[], Any]) -> str:
        """Set the memory format in which `run` is faster, and return its name."""
        import torch

        formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
        fastest: dict[str, float] = {}
        for name, memory_format in formats.items():
            self.network.use_memory_format(memory_format)
            run()  # the first call in a format also prepares the weights
            begin, times = time.perf_counter(), list[float]()
            while not times or (len(times) < _TRIES and time.perf_counter() - begin < _SECONDS):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            fastest[name] = min(times)
        best = min(fastest, key=lambda name: fastest[name])
        self.network.use_memory_format(formats[best])
        return best

    def probabilities(self, pixels: np.ndarray, values: Values) -> np.ndarray:
        """Return class probabilities, see `Contender`."""
        with self._mode():
            return self.predict(*self._inputs(pixels, values)).double().numpy()

    def facts(self) -> dict[str, Any]:
        """Return the facts; the bytes are those of the weights as PyTorch saves them."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        inputs = self._inputs(*random_inputs(1, self.preprocessing.input_size, self.fields))
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            self.predict(*inputs)
        buffer = io.BytesIO()
        torch.save(self.network.state_dict(), buffer)
        return {
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "macs": counter.get_total_flops() // 2,  # the counter takes a multiplication and an addition for two
            "bytes": buffer.getbuffer().nbytes,
            "memory_formats": {str(batch): name for batch, name in self.memory_formats.items()},
        }


def open_contender(row: Row, threads: int) -> Contender:
    """Load the network of a row.

    Args:
        row: What to load.
        threads: Threads of the network.

    Raises:
        UserError: If its source is unusable or its engine is not installed.
    """
    if row.engine != "pytorch":
        return FolderContender(row.source, threads)
    import torch

    torch.set_num_threads(threads)
    return TorchContender(row.source)


def random_inputs(batch: int, side: int, fields: Sequence[SampleField]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return prepared pixels, uint8 (B, S, S, 3), and what the network reads beside them, by name."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    return pixels, {f.name: rng.random((batch, *(f.shape or ())), dtype=np.float32) for f in fields}
