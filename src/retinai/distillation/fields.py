"""What a teacher reads of a photograph besides its pixels, in the batches of its student."""

from __future__ import annotations

import dataclasses
from typing import Any

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.photographs.preprocessing import Preprocessing


class TeacherField(SampleField):
    """A field of the photograph as the teacher's own preprocessing prepares it, whatever the student's.

    Args:
        field: What the teacher reads; it may not depend on the augmentation.
        preprocessing: The teacher's.
    """

    splits = ("train",)

    def __init__(self, field: SampleField, preprocessing: Preprocessing) -> None:
        self.field = field
        self.preprocessing = preprocessing
        # By all that decides the values, so that two teachers share what they share.
        self.name = f"teacher_{field.key()}_{preprocessing.pixel_key()}"

    def bind(self, data: FieldContext) -> TeacherField:
        """Return the field bound to the data set as the teacher sees it."""
        own = dataclasses.replace(data, preprocessing=self.preprocessing)
        return TeacherField(self.field.bind(own), self.preprocessing)

    def load(self, sample: FieldSample) -> Any:
        """Return the value of one sample."""
        photograph = sample.prepared(self.preprocessing)
        return self.field.load(FieldSample(sample.id, sample.path, self.preprocessing, photograph=photograph))

    def collate(self, values: list[Any]) -> Any:
        """Return the batch's value as the field itself does."""
        return self.field.collate(values)

    def key(self) -> str:
        """Return a short key of all that decides the values."""
        return self.name
