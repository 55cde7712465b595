"""The figures of a study for the report of its sweep: how the search went, and which keys mattered."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retinai.sweeps.study import JOURNAL, open_study

_TRIALS = 4  # fewer tell nothing of importances


def study_figures(folder: Path) -> list[tuple[str, bytes]]:
    """Return caption and PNG of each figure of a study; none where there is no study or nothing to see.

    Args:
        folder: The sweep's folder.
    """
    if not (folder / JOURNAL).exists():
        return []
    import matplotlib.pyplot as plt
    import optuna
    from optuna.visualization import matplotlib as draw

    study = open_study(folder)
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    plots: dict[str, Callable[[optuna.Study], Any]] = {}
    if complete:
        plots["The value of each trial, and the best so far"] = draw.plot_optimization_history
    if len(complete) >= _TRIALS and len({trial.value for trial in complete}) > 1:
        plots["How much of the values' variance each key explains (fANOVA)"] = draw.plot_param_importances
    figures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for caption, plot in plots.items():
            plot(study)
            buffer = io.BytesIO()
            plt.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
            plt.close()
            figures.append((caption, buffer.getvalue()))
    return figures
