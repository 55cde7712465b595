"""The photograph of a patient's other eye as a key of sample and batch."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import DataError

_OTHER = {"left": "right", "right": "left"}
_NAMED = re.compile(r"(?P<patient>.+)_(?P<eye>left|right)(?P<suffix>\.\w+)")


class OtherEyeField(SampleField):
    """`other_eye`: the prepared photograph of the patient's other eye, normalised, float32 (B, 3, S, S).

    Where there is none, all values of that sample are NaN. It varies in training exactly as the sample's own
    photograph does, flips included.

    The label table of a data set tells patients and eyes; the other eye is taken from the same part (train, val, ...)
    only, so that no photograph of another part reaches a network, also where a published split shares patients.
    Of several photographs of that eye the first of the table is taken. Loose files are paired by their names, as ODIR
    and EyePACS write them: `10_left.jpg` and `10_right.jpg` in one folder.

    Args:
        preprocessing: How photographs become inputs: `Preprocessing`, or its dict.
    """

    name = "other_eye"

    def __init__(self, preprocessing: Preprocessing | Mapping[str, Any]) -> None:
        self.preprocessing = (
            preprocessing if isinstance(preprocessing, Preprocessing) else Preprocessing.from_dict(dict(preprocessing))
        )
        self._others: dict[str, str] | None = None  # photograph by the id of the sample; None: not of a data set
        self._cache: PreparedCache | None = None

    def __str__(self) -> str:
        return "the patient's other eye"

    def bind(self, data: FieldContext) -> OtherEyeField:
        """Return the field with the pairs of a data set.

        Raises:
            DataError: If its table tells no patient with both eyes.
        """
        others = other_eyes(data.table)
        if not others:
            raise DataError(
                f"data={data.source.name} tells of no patient which photographs show the left and the right eye, and "
                "model=two_eyes reads both; choose data with both eyes (odir, eyepacs, brset, or a table with the "
                "columns patient and eye), or model=classifier"
            )
        bound = copy.copy(self)
        bound._others, bound._cache = others, PreparedCache(data.cache_dir, self.preprocessing)
        return bound

    def load(self, sample: FieldSample) -> np.ndarray | None:
        """Return the other eye's prepared photograph, uint8 (S, S, 3); None where there is none."""
        path = sibling(sample.path) if self._others is None else self._others.get(sample.id)
        if path is None:
            return None
        other = FieldSample(path, path, self.preprocessing, cache=self._cache)
        try:
            photograph = other.photograph
        except BadImageError:
            if self._others is not None:
                raise  # the data set vouched for its files
            return None  # a loose file that cannot be read has a row of its own, which says so
        sample.damaged.extend(other.damaged)
        return sample.vary(photograph)[0]

    def collate(self, values: list[np.ndarray | None]) -> np.ndarray:
        """Return the photographs, float32 (B, 3, S, S), NaN where there is none."""
        side = self.preprocessing.input_size
        batch = np.full((len(values), 3, side, side), np.nan, np.float32)
        there = [row for row, value in enumerate(values) if value is not None]
        if there:
            batch[there] = normalise(np.stack([value for value in values if value is not None]), self.preprocessing)
        return batch

    def key(self) -> str:
        """Return a short key of all that decides the values."""
        return f"{self.name}-{self.preprocessing.pixel_key()}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_dict() | {"preprocessing": self.preprocessing.to_dict()}


def other_eyes(table: pd.DataFrame) -> dict[str, str]:
    """Return the photograph of the patient's other eye, {id: path}; whose other eye is not there is not in it.

    Args:
        table: A label table with `id`, `path`, `patient`, `eye` (left, right, or empty: not known) and `split`.
    """
    first: dict[tuple[str, str, str], str] = {}
    keys = list(zip(table["split"], table["patient"], table["eye"], strict=True))
    for key, path in zip(keys, table["path"], strict=True):
        first.setdefault(key, path)
    found = {}
    for name, (split, patient, eye) in zip(table["id"], keys, strict=True):
        other = first.get((split, patient, _OTHER.get(eye, "")))
        if eye in _OTHER and patient and other is not None:
            found[name] = other
    return found


def sibling(path: str) -> str | None:
    """Return the file of the other eye beside a file that is named `<patient>_left` or `<patient>_right`."""
    place = Path(path)
    named = _NAMED.fullmatch(place.name)
    if named is None:
        return None
    other = place.with_name(f"{named['patient']}_{_OTHER[named['eye']]}{named['suffix']}")
    return str(other) if other.is_file() else None
