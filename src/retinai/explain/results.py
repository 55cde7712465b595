"""What is written of explanations: `explain.json`, the table of regions, figures and a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from retinai.explain.checks import summarise_checks
from retinai.explain.overlays import sheet
from retinai.explain.run import Explained
from retinai.files import write_csv, write_json, write_text
from retinai.reports.figures import readable
from retinai.reports.style import save_figure
from retinai.reports.templates import render
from retinai.reports.wording import with_interval
from retinai.tasks.task import Task

RECORD = "explain.json"
_COLUMNS = ("method", "region", "photographs", "ratio", "mean ratio", "excess", "p", "energy", "pointing")


def summarise(found: Explained, methods: Sequence[str], facts: Mapping[str, Any], resamples: int) -> dict[str, Any]:
    """Return the content of `explain.json`.

    Args:
        found: Over all photographs.
        methods: In the order asked for; `regions` is that of the first.
        facts: What was explained, and how.
        resamples: Of the bootstrap.

    Returns:
        The facts; `methods`: method -> `regions` (or, with several maps per photograph, `classes` -> `regions`) and
        `zero_maps`; `regions` of the first method; `references`: ratios of maps that know nothing of the network.
    """
    content: dict[str, Any] = {**facts, "photographs": len(found.rows), "methods": {}}
    for method in methods:
        own = {name: meter for (of, name), meter in found.meters.items() if of == method}
        if not own:
            content["methods"][method] = {}
            continue
        told = {n: {"regions": m.results(resamples), "zero_maps": m.zero} for n, m in own.items()}
        content["methods"][method] = told.get("", {"classes": told})
    content["regions"] = content["methods"][methods[0]].get("regions", {})
    patients, checked = [patient for patient, _ in found.checks], [row for _, row in found.checks]
    content["checks"] = summarise_checks(checked, patients, methods, resamples) if checked else {}
    content["references"] = {
        name: {region: figures["pooled"]["value"] for region, figures in meter.results(0).items()}
        for name, meter in found.references.items()
    }
    return content


def region_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each method, class and region, as text for people."""
    rows = []
    for method, told in content["methods"].items():
        parts = told.get("classes") or ({"": told} if told else {})
        for class_name, part in parts.items():
            for region, figures in part["regions"].items():
                name = f"{method}: {readable(class_name)}" if class_name else method
                rows.append([name, region.replace("_", " "), *_cells(figures)])
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _cells(figures: Mapping[str, Any]) -> list[str]:
    def plain(value: float | None, form: str = ".2f") -> str:
        return "-" if value is None else format(value, form)

    return [
        str(figures["photographs"]),
        with_interval(figures["pooled"], 2),
        with_interval(figures["mean"], 2),
        plain(figures["excess"]),
        plain(figures["p"], ".3f"),
        f"{plain(figures['energy'], '.3f')} ({plain(figures['energy_turned'], '.3f')})",
        f"{plain(figures['pointing'])} ({plain(figures['pointing_turned'])}, p {plain(figures['pointing_p'], '.3f')})",
    ]


def check_sentence(told: Mapping[str, Any]) -> str:
    """Return what the checks say of a method, for people."""
    words = {True: "yes", False: "no", None: "not known"}
    return (
        f"the answer follows what it marks: {words[told['faithful']]} (deletion "
        f"{with_interval(told['deletion_difference'], 3, signed=True)}, insertion "
        f"{with_interval(told['insertion_difference'], 3, signed=True)} against random maps); it depends on the "
        f"weights: {words[told['depends_on_weights']]} (rank correlation to shuffled weights "
        f"{with_interval(told['randomisation'], 2)})"
    )


def write_results(folder: Path, content: Mapping[str, Any], found: Explained, task: Task) -> list[tuple[str, Path]]:
    """Write `explain.json`, `maps.csv`, `regions.csv`, figures and `explain.html`.

    Args:
        folder: Where they go.
        content: Of `summarise`.
        found: Over all photographs.
        task: The task, for the order of grades.

    Returns:
        Caption and file of each figure.
    """
    write_json(folder / RECORD, content)
    write_csv(folder / "maps.csv", pd.DataFrame(found.rows, dtype=object))  # Arrow holds no lone surrogates
    table = region_table(content)
    if len(table):
        write_csv(folder / "regions.csv", table)
    figures = []
    groups = [*task.classes, *sorted(set().union(*(mean.sums for mean in found.means.values())) - set(task.classes))]
    for method, means in found.means.items():
        figure = means.figure(groups, {name: readable(name) for name in groups})
        if figure is not None:
            path = save_figure(figure, folder / "figures" / f"mean_{method}.png")
            figures.append((f"Where it looks, by grade: {method}, mean of the maps, left eyes mirrored.", path))
    for name, pictures in (("right", found.right), ("wrong", found.wrong)):
        drawn = sheet(pictures)
        if drawn is not None:
            path = save_figure(drawn, folder / "figures" / f"{name}.png")
            figures.append((f"Decisions that are {name}." if found.wrong else "The first photographs.", path))
    page = render(
        "explain.html.j2",
        folder=Path(__file__).parent,
        title=f"What {content['backbone']} looks at",
        content=content,
        table=table,
        checks={method: check_sentence(told) for method, told in content["checks"].get("methods", {}).items()},
        references=content["references"],
        figures=[(caption, base64.b64encode(path.read_bytes()).decode()) for caption, path in figures],
    )
    write_text(folder / "explain.html", page)
    return figures
