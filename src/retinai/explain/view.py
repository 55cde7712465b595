"""The field of view of a prepared photograph, as a key of sample and batch."""

from __future__ import annotations

import cv2
import numpy as np

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.photographs.field_of_view import find_field_of_view


class ViewField(SampleField):
    """`field_of_view`: where the retina is in the prepared photograph, bool, (B, S, S)."""

    name = "field_of_view"

    def load(self, sample: FieldSample) -> np.ndarray:
        """Return the lit disc of the photograph as the network gets it, bool, (S, S)."""
        image = sample.image
        mask = np.zeros(image.shape[:2], np.uint8)
        outline = find_field_of_view(image).outline
        cv2.fillConvexPoly(mask, np.rint(outline - 0.5).astype(np.int32), 1)
        return mask.astype(bool)

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        """Return the masks of a batch, bool, (B, S, S)."""
        return np.stack(values)
