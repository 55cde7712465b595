"""The figures of a study for the report of its sweep: how the search went, which keys mattered, and the best trials."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retinai.reports.tables import PageTable
from retinai.sweeps.objectives import LABELS, SCORE
from retinai.sweeps.space import words_of

if TYPE_CHECKING:
    import optuna

_TRIALS = 4  # fewer tell nothing of importances


def study_figures(study: optuna.Study, objectives: Sequence[str] = (SCORE,)) -> list[tuple[str, bytes]]:
    """Return caption and PNG of each figure of a study; none where there is nothing to see.

    One objective: each trial's value and the best so far, importances. Several: the Pareto front, and both of these for
    each of them.

    Args:
        study: The study.
        objectives: Names of what is searched for, in the study's order.
    """
    import optuna
    from optuna.visualization import matplotlib as draw

    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if not complete:
        return []
    figures = []
    if len(objectives) in (2, 3):  # more have no figure
        names = [LABELS[name] for name in objectives]
        caption = "Trials by their objectives; red: the Pareto front, where no other trial is as good in each"
        figures.append((caption, _png(lambda: draw.plot_pareto_front(study, target_names=names))))
    for number, name in enumerate(objectives):
        figures += _of_one(study, complete, number, LABELS[name], len(objectives) > 1)
    return figures


def _of_one(
    study: optuna.Study, complete: Sequence[optuna.trial.FrozenTrial], number: int, label: str, several: bool
) -> list[tuple[str, bytes]]:
    """Return the figures of one objective: the search, and what mattered to it."""
    from optuna.visualization import matplotlib as draw

    def value(trial: optuna.trial.FrozenTrial) -> float:
        return float(trial.values[number])

    told: dict[str, Any] = {"target": value} if several else {}
    figures = [
        (
            f"The value of each trial{'' if several else ', and the best so far'}: {label}",
            _png(lambda: draw.plot_optimization_history(study, target_name=label, **told)),
        )
    ]
    if len(complete) >= _TRIALS and len({value(trial) for trial in complete}) > 1:
        caption = f"How much of the variance of it each key explains (fANOVA): {label}"
        figures.append((caption, _png(lambda: draw.plot_param_importances(study, target_name=label, **told))))
    return figures


def _png(plot: Callable[[], Any]) -> bytes:
    import matplotlib.pyplot as plt
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        plot()
        buffer = io.BytesIO()
        plt.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        plt.close()
    return buffer.getvalue()


def front_table(study: optuna.Study, objectives: Sequence[str]) -> list[PageTable]:
    """Return the table of the trials that no other one is as good as in each of several objectives, or nothing.

    Args:
        study: The study.
        objectives: Names of what is searched for, in the study's order.
    """
    if len(objectives) < 2:
        return []
    best = sorted(study.best_trials, key=lambda trial: trial.values)
    lines = [[str(t.number), *(f"{value:.3f}" for value in t.values), " ".join(words_of(t.params))] for t in best]
    note = "No other trial is at least as good in each objective and better in one."
    return [PageTable("Best trials (Pareto front)", ["trial", *objectives, "words"], lines, note)]
