"""Probabilities of loose photographs, batch by batch; a bad file costs its own row only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader, Dataset

from retinai.data.loading.dataset import Collate
from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.parallel import choose_loader_workers
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.prediction.outside import DISTANCE
from retinai.prediction.photographs import Photographs
from retinai.prediction.predictor import Predictor
from retinai.prediction.reading import read_one
from retinai.prediction.steps import PROBABILITY
from retinai.prediction.table import add_distance, prediction_table

if TYPE_CHECKING:
    from retinai.data.photographs.cache import PreparedCache
    from retinai.modules.grading import GradingModule

Item = tuple[int, dict[str, Any] | None, str]


class PhotographFiles(Dataset[Item]):
    """Samples of files: its number, `image` uint8 (S, S, 3), `id` and a key per field; or None and the reason.

    Args:
        photographs: The files.
        preprocessing: How a photograph becomes the input.
        fields: What a sample carries besides.
        cache: Of the photographs of a data set: where prepared ones are, the others are prepared from the original.
            Somebody has vouched for these, so that one without a field of view is taken too.
    """

    def __init__(
        self,
        photographs: Photographs,
        preprocessing: Preprocessing,
        fields: Sequence[SampleField] = (),
        cache: PreparedCache | None = None,
    ) -> None:
        self.photographs = photographs
        self.preprocessing = preprocessing
        self.fields = fields
        self.cache = cache

    def __len__(self) -> int:
        return len(self.photographs.paths)

    def __getitem__(self, index: int) -> Item:
        name, path = self.photographs.ids[index], self.photographs.paths[index]
        if self.cache is not None:
            return self._of_data_set(index, name, path)
        reading = read_one(self.preprocessing, self.fields, (index, path))
        if reading.pixels is None:
            return index, None, reading.reason
        return index, {"image": reading.pixels, "id": name, **reading.values}, ""

    def _of_data_set(self, index: int, name: str, path: str) -> Item:
        sample = FieldSample(name, path, self.preprocessing, cache=self.cache)
        try:
            carried = {field.name: field.load(sample) for field in self.fields}
            return index, {"image": sample.photograph, "id": name, **carried}, ""
        except BadImageError as error:
            return index, None, error.reason


def predict_files(
    module: GradingModule,
    photographs: Photographs,
    *,
    batch_size: int = 32,
    num_workers: int | str = "auto",
    accelerator: str = "auto",
    thresholds: np.ndarray | None = None,
) -> pd.DataFrame:
    """Predict photographs with a progress bar; memory holds a few batches at most.

    Args:
        module: A trained module.
        photographs: What to predict, in the order of the rows.
        batch_size: Photographs per batch.
        num_workers: Processes that read; `auto`: one per core but one, at most 4, none for few files.
        accelerator: `auto` takes a GPU if there is one; `cpu` does not.
        thresholds: Of several labels, shape (C,): from which probability on each is given; None: by the rule.

    Returns:
        One row per file, in the order given: `id`, `path`, `prediction` (a grade, or label names joined
        by `|`), `p_<class>` per class, what else the module's `photograph_steps` find (of a language model `answer`),
        `error` (empty, or why the file could not be read; then all the others are missing).
    """
    predictor = Predictor(module, accelerator)
    fields = module.photograph_fields()
    files = PhotographFiles(photographs, module.preprocessing, fields)
    collate = Collate(module.preprocessing, module.task, fields)
    reasons, rows = [""] * len(files), list[int]()
    batches = readable_batches(file_loader(files, batch_size, num_workers), collate, rows, reasons)
    results = predictor.run(batches, module.photograph_steps(), total=len(files))
    probabilities = np.full((len(files), module.task.num_classes), np.nan)
    if rows:
        probabilities[rows] = results[PROBABILITY]
    table = prediction_table(
        module.task, module.decision_rule, photographs, probabilities, reasons, module.calibration, thresholds
    )
    for name, values in results.columns().items():
        column = pd.Series(list(values), index=rows).reindex(range(len(files)))
        if name == DISTANCE:
            add_distance(table, column.to_numpy(dtype=np.float64))
            continue
        table.insert(list(table.columns).index("error"), name, column.to_numpy())
    return table


def readable_batches(
    loader: Iterable[list[Item]], collate: Collate, rows: list[int], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the batches of those files that can be read.

    Args:
        loader: Of `file_loader`.
        collate: Makes a batch of samples.
        rows: Gets the number of each file that can be read, in the order of the batches.
        reasons: One text per file: gets why the others cannot be read.
    """
    for items in loader:
        good = [(index, sample) for index, sample, _ in items if sample is not None]
        rows.extend(index for index, _ in good)
        for index, _, reason in items:
            reasons[index] = reason
        if good:
            yield collate([sample for _, sample in good])


def file_loader(files: PhotographFiles, batch_size: int, num_workers: int | str) -> DataLoader[Any]:
    """Return a loader that gives the items of files in order, a list of them at a time."""
    workers = choose_loader_workers(num_workers, len(files), batch_size)
    return DataLoader(files, batch_size=batch_size, num_workers=workers, collate_fn=list)
