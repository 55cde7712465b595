"""The same photograph for several networks: each prepared from the original at its own size, varied alike."""

from __future__ import annotations

from collections.abc import Sequence

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError


def check_views(preprocessing: Preprocessing, views: Sequence[Preprocessing]) -> None:
    """Refuse networks that would look at different parts of a photograph.

    Size, interpolation and contrast may differ, because each view is prepared from the original; flips and
    rotations move two crops alike only where the crops are of one kind.

    Args:
        preprocessing: Of the network that is trained.
        views: Of the others (teachers).

    Raises:
        ConfigError: If a crop differs.
    """
    problems = [
        f"data.preprocess.crop={preprocessing.crop}, but the other network (a teacher) was trained "
        f"with {view.crop}; set data.preprocess.crop={view.crop}"
        for view in views
        if view.crop != preprocessing.crop
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
