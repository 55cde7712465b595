"""`ExportedModel`: photographs in, grades out, with an exported folder and without torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError
from retinai.prediction.outside import DISTANCE
from retinai.prediction.photographs import Photographs, find_photographs, name_photographs
from retinai.prediction.reading import Reading
from retinai.prediction.table import add_distance, prediction_table
from retinai.prediction.uncertainty import COLUMNS, disagreement
from retinai.runtime.cpu import CpuWarning, cpu_notes
from retinai.runtime.engines import open_engine
from retinai.runtime.folder import MEMBERS, PHOTOGRAPH, PROBABILITY, ModelFolder, read_folder
from retinai.runtime.graph_check import check_graph
from retinai.runtime.masks import ExportedMasks
from retinai.runtime.reading import read_all
from retinai.tasks.task import Task

Images = str | Path | Sequence[str | Path] | Sequence[np.ndarray]


class ExportedModel:
    """Grades photographs with a folder that `retinai export` wrote.

    Args:
        folder: The exported folder; every file in it is checked against its SHA-256.
        threads: Threads of the network; None: as many as this process may use.

    Attributes:
        folder: What `model.json` says, see `ModelFolder`.
        notes: What somebody should know who grades with it on this CPU; given as a `CpuWarning` each, too.

    Raises:
        UserError: If the folder is no export, of another format, incomplete or changed, its network is another one
            than it says or gives no probabilities, or `threads` is below 1.
        MissingExtraError: If the engine of the folder is not installed.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise UserError(f"threads={threads} must be a whole number from 1")
        self.folder: ModelFolder = read_folder(folder)
        file = self.folder.path / self.folder.network
        self.notes = cpu_notes(self.folder.precision, self.folder.checked_on, self.folder.reduced)
        for note in self.notes:
            warnings.warn(note, CpuWarning, stacklevel=2)
        self._threads = threads
        self._masks: ExportedMasks | None = None
        self._engine = open_engine(self.folder.engine, file, self.folder.precision, threads)
        check_graph(self._engine, self.folder)

    @property
    def task(self) -> Task:
        """The task: kind, class names."""
        return self.folder.task

    @property
    def preprocessing(self) -> Preprocessing:
        """How a photograph becomes the input."""
        return self.folder.preprocessing

    @property
    def decision_rule(self) -> str:
        """How probabilities become decisions, see `retinai.metrics.decisions.decide`."""
        return self.folder.decision_rule

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Temperature and operating points as they were exported, or None."""
        return self.folder.calibration

    @property
    def masks(self) -> ExportedMasks:
        """What draws lesions and the optic disc; loaded when it is first asked for.

        Raises:
            UserError: If the folder holds none, or its network is another one than it says.
        """
        folder = self.folder
        if folder.masks is None:
            raise UserError(
                f"{folder.path} draws no masks; export a checkpoint of model=lesions, whose folder holds masks.onnx"
            )
        if self._masks is None:
            self._masks = ExportedMasks(folder.path, folder.masks, folder.engine, self._threads)
        return self._masks

    def predict(
        self,
        images: Images,
        batch_size: int = 32,
        workers: int | str | None = "auto",
        progress: bool = False,
    ) -> pd.DataFrame:
        """Grade photographs; memory holds a batch and a few photographs per process, however many there are.

        Args:
            images: A folder (with its subfolders), a pattern, a file, a list of files, or a list of photographs
                as arrays (uint8, (H, W, 3), RGB).
            batch_size: Photographs per run of the network.
            workers: Processes that read photographs; 0 reads in this one, `auto` chooses. A script that asks for
                processes needs the usual `if __name__ == "__main__":`.
            progress: Show a progress bar on stderr.

        Returns:
            One row per photograph in the order given: `id`, `path`, `prediction` (a grade, or label names joined by
            `|`), `p_<class>` per class, `distance` and `outside` where the folder measures it (above 1 a photograph
            lies outside what the network saw), of several networks `entropy` and `mutual_information` (in nats),
            `error` (empty, or why it could not be graded; the rest is then missing).

        Raises:
            UserError: If nothing is found, or an option makes no sense.
        """
        photographs, sources = _sources(images)
        return self.predict_photographs(photographs, sources, batch_size, workers, progress)

    def predict_photographs(
        self,
        photographs: Photographs,
        sources: Sequence[str] | Sequence[np.ndarray] | None = None,
        batch_size: int = 32,
        workers: int | str | None = "auto",
        progress: bool = False,
        thresholds: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Grade named photographs, see `predict`.

        Args:
            photographs: Their ids and files.
            sources: Their pixels, where they are in memory; None reads the files.
            batch_size: Photographs per run of the network.
            workers: Processes that read photographs.
            progress: Show a progress bar on stderr.
            thresholds: Of several labels, shape (C,): from which probability on each is given; None: by the rule.
        """
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be a whole number from 1")
        chosen = photographs.paths if sources is None else sources
        bar = "predicting" if progress else None
        readings = read_all(self.preprocessing, self.folder.fields, chosen, workers, bar)
        return self.grade_readings(photographs, readings, batch_size, thresholds)

    def grade_readings(
        self,
        photographs: Photographs,
        readings: Iterable[Reading],
        batch_size: int = 32,
        thresholds: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Grade photographs that somebody reads; no more are taken at a time than a batch needs.

        Args:
            photographs: Their ids and files.
            readings: One of each, in any order.
            batch_size: Photographs per run of the network.
            thresholds: As in `predict_photographs`.

        Returns:
            The table of `predict`.
        """
        count = len(photographs.paths)
        probabilities = np.full((count, self.task.num_classes), np.nan)
        far = None if self.folder.outside is None else np.full(count, np.nan)
        unsure = {name: np.full(count, np.nan) for name in COLUMNS} if self.folder.members > 1 else {}
        reasons = [""] * count
        for batch in _batches(readings, batch_size, reasons):
            rows = [reading.index for reading in batch]
            found = self._run(self._inputs(batch))
            probabilities[rows] = found[PROBABILITY]
            if far is not None:
                far[rows] = found[DISTANCE][:, 0]
            told = disagreement(found[MEMBERS], self.task.distribution) if unsure else {}
            for name, values in told.items():
                unsure[name][rows] = values
        table = prediction_table(
            self.task, self.decision_rule, photographs, probabilities, reasons, self.calibration, thresholds
        )
        if far is not None:
            add_distance(table, far)
        for name, values in unsure.items():
            table.insert(list(table.columns).index("error"), name, values)
        return table

    def probabilities(self, photographs: np.ndarray, values: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Return class probabilities of prepared photographs, float64, (B, C).

        Args:
            photographs: Prepared pixels, uint8, (B, S, S, 3), RGB.
            values: What the network reads beside them, float32 (B, ...), by the names of `folder.fields`.

        Raises:
            UserError: If names, shapes or types are not those of the network.
        """
        return self._run({PHOTOGRAPH: photographs, **(values or {})})[PROBABILITY]

    def _run(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what the network gives of prepared photographs, float64, by output, see `probabilities`."""
        given = {**given, PHOTOGRAPH: np.ascontiguousarray(given[PHOTOGRAPH])}
        for name in sorted(given.keys() ^ self.folder.inputs.keys()):
            asked = "needs" if name in self.folder.inputs else "does not read"
            raise UserError(f"the network {asked} {name!r}; it reads {', '.join(self.folder.inputs)}")
        for name, facts in self.folder.inputs.items():
            array, sides = given[name], facts["shape"][1:]
            if str(array.dtype) != facts["type"] or list(array.shape[1:]) != sides or array.ndim != len(sides) + 1:
                what = "photographs" if name == PHOTOGRAPH else name
                raise UserError(
                    f"{what} of type {array.dtype} and shape {array.shape} are not prepared ones: "
                    f"{facts['type']} (B, {', '.join(map(str, sides))})"
                )
        return {name: found.astype(np.float64) for name, found in self._engine.run(given).items()}

    def _inputs(self, batch: Sequence[Reading]) -> dict[str, np.ndarray]:
        """Return the network's inputs for photographs that were read, by name."""
        pixels = np.stack([reading.pixels for reading in batch if reading.pixels is not None])
        fields = self.folder.fields
        return {PHOTOGRAPH: pixels, **{f.name: f.collate([r.values[f.name] for r in batch]) for f in fields}}


def _sources(images: Images) -> tuple[Photographs, Sequence[np.ndarray] | None]:
    """Name the photographs; the second part holds their pixels where they are in memory already."""
    if isinstance(images, str | Path):
        return find_photographs(str(images)), None
    given = list(images)
    if not given:
        raise UserError("images is an empty list; give photographs")
    arrays = [image for image in given if isinstance(image, np.ndarray)]
    if not arrays:
        return name_photographs([Path(str(image)) for image in given]), None
    if len(arrays) < len(given):
        raise UserError("images mixes files and arrays; give one kind")
    for index, image in enumerate(arrays):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"photograph {index} is {image.dtype} {image.shape}; photographs are uint8 (H, W, 3), RGB")
    return Photographs([str(i) for i in range(len(arrays))], [""] * len(arrays)), arrays


def _batches(readings: Iterable[Reading], size: int, reasons: list[str]) -> Iterator[list[Reading]]:
    """Gather good readings into batches; the reasons of the others go to their places in `reasons`."""
    batch: list[Reading] = []
    for reading in readings:
        if reading.pixels is None:
            reasons[reading.index] = reading.reason
            continue
        batch.append(reading)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
