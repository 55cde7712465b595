"""Age and sex as a key of sample and batch, from the columns of the owner's table."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.sources.label_table import few
from retinai.errors import DataError

# An age enters as (age - 55) / 15: adults then lie between about -2 and 2.
_MIDDLE, _SPREAD = 55.0, 15.0
FEMALE, MALE = ("female", "f", "woman"), ("male", "m", "man")
_OLDEST = 120
# Of one photograph: age, whether it is known, female, male. What is not known is 0.
_VALUES = 4


class DemographicsField(SampleField):
    """`demographics`: age as (years - 55) / 15, whether the age is known, female, male; float32 (B, 4).

    What is not known is 0 in all its places, so a patient of 55 and one of unknown age are told apart. A photograph
    that the table does not list (without labels, or made up) is one of which nothing is known.

    Args:
        age: Column with the age in years.
        sex: Column with the sex.
        female: Words of that column for women, in any case.
        male: Words of that column for men.
    """

    name = "demographics"
    # Nobody can tell age and sex of a loose file.
    needs_annotations = True

    def __init__(
        self, age: str = "age", sex: str = "sex", female: Sequence[str] = FEMALE, male: Sequence[str] = MALE
    ) -> None:
        self.age, self.sex = age, sex
        self.female, self.male = tuple(female), tuple(male)
        self._known: dict[str, np.ndarray] = {}

    def __str__(self) -> str:
        return "age and sex"

    def bind(self, data: FieldContext) -> DemographicsField:
        """Return the field with what the data set's table says.

        Raises:
            DataError: If the table has no such columns or nothing in them, an age is none, or a sex is neither of the
                words.
        """
        columns = data.source.columns()
        missing = [name for name in (self.age, self.sex) if name not in columns]
        if missing:
            there = few([repr(str(name)) for name in columns]) if len(columns.columns) else "none"
            raise DataError(
                f"data={data.source.name} has no column {' and no '.join(map(repr, missing))}, which "
                f"demographics=age_sex reads (columns beside the labels: {there}); name them with demographics.age= "
                "and demographics.sex=, or set demographics=none"
            )
        table = columns[columns.index.isin(data.table["id"])]
        empty = [name for name in (self.age, self.sex) if all(_is_empty(value) for value in table[name])]
        if len(empty) == 2:
            raise DataError(
                f"data={data.source.name}: columns {self.age!r} and {self.sex!r} say nothing of any photograph; name "
                "others with demographics.age= and demographics.sex=, or set demographics=none"
            )
        if empty:
            data.source.notes.append(f"column {empty[0]!r} is empty for every photograph: nothing is learned from it")
        bound = copy.copy(self)
        values = np.column_stack([self._ages(table[self.age]), self._sexes(table[self.sex])]).astype(np.float32)
        bound._known = dict(zip(map(str, table.index), values, strict=True))
        return bound

    def _ages(self, column: pd.Series) -> np.ndarray:
        """Return (N, 2): the age on its scale, and whether it is known."""
        texts = ["" if _is_empty(value) else str(value).strip() for value in column]
        numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(float)
        wrong = [text != "" and not 0 <= number <= _OLDEST for text, number in zip(texts, numbers, strict=True)]
        if any(wrong):
            raise DataError(
                f"column {self.age!r} holds the age in years, 0 to {_OLDEST}, or nothing; found "
                f"{few(list(_told(column, wrong)))}; mend these cells or leave them empty"
            )
        known = np.isfinite(numbers)
        return np.column_stack([np.where(known, (numbers - _MIDDLE) / _SPREAD, 0), known])

    def _sexes(self, column: pd.Series) -> np.ndarray:
        """Return (N, 2): female, male; both 0 where it is not known."""
        words = [{word.casefold() for word in group} for group in (self.female, self.male)]
        texts = ["" if _is_empty(text) else str(text).strip().casefold() for text in column]
        wrong = [text != "" and not any(text in group for group in words) for text in texts]
        if any(wrong):
            raise DataError(
                f"column {self.sex!r} says {few(list(_told(column, wrong)))}, which is neither of demographics.female="
                f"{list(self.female)} nor of demographics.male={list(self.male)}; add the words to these lists"
            )
        return np.array([[text in group for group in words] for text in texts], dtype=float).reshape(len(texts), 2)

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the values of one photograph, float32 (4,)."""
        known = self._known.get(sample.id)
        return np.zeros(_VALUES, np.float32) if known is None else known

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the values of B photographs, float32 (B, 4)."""
        return np.stack(values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values of one photograph."""
        return (_VALUES,)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        words = {"female": list(self.female), "male": list(self.male)}
        return super().to_dict() | {"age": self.age, "sex": self.sex} | words


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""


def _told(column: pd.Series, wrong: Sequence[bool]) -> Iterator[str]:
    yield from dict.fromkeys(repr(str(text)) for text, bad in zip(column, wrong, strict=True) if bad)
