"""What `retinai probe` leaves: metrics and predictions of each probe, and for several of them tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retinai import __version__
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.embeddings import figures
from retinai.embeddings.comparison import Difference, Ranks, average_ranks, count_results, paired_differences
from retinai.embeddings.files import Embeddings
from retinai.embeddings.probe import Outcome
from retinai.files import unique_names, write_csv, write_json, write_text
from retinai.metrics.bootstrap import bootstrap_weights
from retinai.reports.run_report import write_evaluation
from retinai.reports.style import save_figure
from retinai.reports.wording import with_interval

RECORD = "probe.json"


def write_results(
    folder: Path,
    outcomes: Sequence[Outcome],
    files: Sequence[Embeddings],
    details: dict[str, Any],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Write everything into a folder; `probe.json` comes last.

    One probe leaves what an evaluation leaves (`metrics.json`, `predictions.csv`, figures, `report.html`); several
    leave `metrics.json` and `predictions.csv` in `TARGET/FILE/`, and `probe.md` with the tables.

    Args:
        folder: Where to; made if it is missing.
        outcomes: The probes.
        files: The embeddings.
        details: What to tell of data and settings.
        resamples: Bootstrap resamples of patients.
        seed: Seed of the bootstrap.

    Returns:
        Target -> file -> content of metrics.json.
    """
    alone = len(outcomes) == 1
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    for outcome in outcomes:
        own = folder_of(outcome, outcomes, folder)
        info = next(file.info for file in files if file.name == outcome.embeddings)
        found = _write_one(own, outcome, info, details, resamples, seed, alone)
        metrics.setdefault(outcome.job.target.name, {})[outcome.embeddings] = found
    scores = {t: {e: m["r2" if "r2" in m else "auroc"] for e, m in by_file.items()} for t, by_file in metrics.items()}
    record: dict[str, Any] = {**details, "version": __version__, "scores": scores, "settings": _settings(outcomes)}
    shots = [{"target": o.job.target.name, "embeddings": o.embeddings, **row} for o in outcomes for row in o.few_shots]
    lines = _score_lines(scores)
    if not alone:
        save_figure(figures.scores_figure(scores, "AUROC (numbers: R2)"), folder / "figures" / "scores.png")
    if shots:
        _write_shots(folder, shots)
        lines += _shot_lines(shots)
    if len(files) > 1:
        record["comparison"], more = _compare(folder, outcomes, [file.name for file in files], resamples, seed)
        lines += more
    write_text(folder / "probe.md", "\n".join(lines) + "\n")
    write_json(folder / RECORD, record)
    return metrics


def folder_of(outcome: Outcome, outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Return the folder of one probe, that of all where there is one only.

    The names of targets may be those of columns, which can hold anything: what no name of a folder has is `_` here.
    """
    if len(outcomes) == 1:
        return folder
    names = unique_names(dict.fromkeys(other.job.target.name for other in outcomes))
    return folder / names[outcome.job.target.name] / outcome.embeddings


def _write_one(
    folder: Path,
    outcome: Outcome,
    info: Any,
    details: dict[str, Any],
    resamples: int,
    seed: int,
    alone: bool,
) -> dict[str, Any]:
    if alone:
        facts = details | {"backbone": info["backbone"], "weights": info["weights"], "pooling": info["pooling"]}
        facts |= {"probe": f"{outcome.fitted.setting}={outcome.fitted.value:g} by {outcome.fitted.folds} inner folds"}
        title = f"Probe of {outcome.job.target.name} on embeddings of {info['backbone']}, test split"
        seen = Preprocessing.from_dict(dict(info["preprocessing"]))
        return write_evaluation(
            folder, outcome.predictions(), title=title, details=facts, preprocessing=seen, resamples=resamples
        )
    metrics = outcome.metrics(resamples, seed)
    write_csv(folder / "predictions.csv", outcome.table())
    write_json(folder / "metrics.json", metrics)
    return metrics


def _settings(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the setting that inner folds chose for each probe, and the sizes of its parts."""
    return [
        {
            "target": outcome.job.target.name,
            "embeddings": outcome.embeddings,
            outcome.fitted.setting: outcome.fitted.value,
            "inner_folds": outcome.fitted.folds,
            "training": len(outcome.job.training.ids),
            "test": len(outcome.job.test.ids),
        }
        for outcome in outcomes
    ]


def _write_shots(folder: Path, shots: list[dict[str, Any]]) -> None:
    import pandas as pd

    write_csv(folder / "few_shots.csv", pd.DataFrame(shots))
    save_figure(figures.few_shots_figure(shots, "AUROC"), folder / "figures" / "few_shots.png")


def _compare(
    folder: Path, outcomes: Sequence[Outcome], names: list[str], resamples: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Compare the files pair by pair on every target; return the record and the lines of the page."""
    draws: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        weights = bootstrap_weights(outcome.job.test.patients, resamples, seed)
        draws.setdefault(outcome.job.target.name, {})[outcome.embeddings] = outcome.scores(weights)
    differences = paired_differences(draws)
    ranks = average_ranks({t: {e: float(d[0]) for e, d in by_file.items()} for t, by_file in draws.items()})
    if ranks is not None:
        save_figure(figures.ranks_figure(ranks), folder / "figures" / "critical_difference.png")
    record = {
        "differences": [asdict(d) | {"result": d.result} for d in differences],
        "ranks": None if ranks is None else asdict(ranks),
    }
    return record, [*_difference_lines(differences, names), *_rank_lines(ranks)]


def _score_lines(scores: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    names = list(next(iter(scores.values())))
    lines = ["# Probes", "", "AUROC (of numbers R2) on the test part, 95 % intervals by patients.", ""]
    lines += [f"| target | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    return [*lines, *(f"| {t} | {' | '.join(with_interval(by[n]) for n in names)} |" for t, by in scores.items()), ""]


def _shot_lines(shots: list[dict[str, Any]]) -> list[str]:
    import pandas as pd

    table = pd.DataFrame(shots)
    means = table.groupby(["percent", "embeddings"], sort=False)["score"].agg(["mean", "std"]).unstack("embeddings")
    names = list(dict.fromkeys(table["embeddings"]))
    lines = ["## Fewer labels", "", "Mean AUROC over targets and draws, and its standard deviation.", ""]
    lines += [f"| percent of patients | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for percent in means.index:
        cells = [f"{means.loc[percent, ('mean', n)]:.3f} ± {means.loc[percent, ('std', n)]:.3f}" for n in names]
        lines.append(f"| {percent:g} | {' | '.join(cells)} |")
    return [*lines, ""]


def _difference_lines(differences: Sequence[Difference], names: list[str]) -> list[str]:
    lines = ["## Pairs", "", "Paired bootstrap by patients, p-values after Holm over all rows.", ""]
    lines += ["| target | first | second | difference | p | p after Holm | first |", "|---|---|---|---:|---:|---:|---|"]
    for d in differences:
        shown = with_interval({"value": d.value, "low": d.low, "high": d.high}, signed=True)
        lines.append(f"| {d.target} | {d.first} | {d.second} | {shown} | {d.p:.3g} | {d.adjusted:.3g} | {d.result} |")
    lines += ["", "Wins, ties and losses of the row against the column.", ""]
    lines += [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    counts = count_results(differences, names)
    for row in names:
        cells = ["" if row == column else "{win} / {tie} / {loss}".format(**counts[row, column]) for column in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return [*lines, ""]


def _rank_lines(ranks: Ranks | None) -> list[str]:
    if ranks is None:
        return []
    ordered = sorted(ranks.ranks.items(), key=lambda item: item[1])
    told = ", ".join(f"{name} {rank:.2f}" for name, rank in ordered)
    friedman = "" if ranks.p is None else f" Friedman's test: p = {ranks.p:.3g}."
    return [
        "## Ranks",
        "",
        f"Average ranks over {ranks.targets} targets: {told}; ranks closer than {ranks.critical_difference:.2f} are "
        f"not told apart (Nemenyi, 5 %).{friedman}",
    ]
