"""From a file that anybody may hand in to prepared pixels; what is no photograph of a retina is refused.

Prediction reads photographs here, with and without torch, so that both see the same pixels and refuse the same
files in the same words.
"""

from __future__ import annotations

import numpy as np

from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

NOT_A_RETINA = "not a retina: no field of view was found"


def prepare_retina(original: Original, preprocessing: Preprocessing) -> np.ndarray:
    """Prepare a photograph that somebody handed in.

    Args:
        original: The photograph.
        preprocessing: How a photograph becomes the input.

    Returns:
        Prepared pixels, uint8, (S, S, 3), RGB.

    Raises:
        BadImageError: If it cannot be decoded, or no field of view is found, whatever the crop; data sets in training
            are not held to the latter, since somebody has vouched for their photographs.
    """
    copy = original.copy_for(preprocessing)
    if not copy.field_of_view.found:
        raise BadImageError(original.name, NOT_A_RETINA)
    return prepare_photograph(copy.pixels, preprocessing, copy.found_for(preprocessing))
