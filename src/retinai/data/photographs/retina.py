"""From a file that anybody may hand in to prepared pixels; what is no photograph of a retina is refused.

Prediction reads photographs here, with and without torch, so that both see the same pixels and refuse the same
files in the same words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.preparation import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

NOT_A_RETINA = "not a retina: no field of view was found"


def prepare_retina(image: np.ndarray, preprocessing: Preprocessing, name: str | Path) -> np.ndarray:
    """Prepare a photograph that is in memory; `name` stands for it in errors.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB.
        preprocessing: How a photograph becomes the input.
        name: The file, or another name.

    Returns:
        Prepared pixels, uint8, (S, S, 3), RGB.

    Raises:
        BadImageError: If no field of view is found, whatever the crop; data sets in training are not held to this,
            since somebody has vouched for their photographs.
    """
    found = find_field_of_view(image)
    if not found.found:
        raise BadImageError(name, NOT_A_RETINA)
    return prepare_photograph(image, preprocessing, found)
