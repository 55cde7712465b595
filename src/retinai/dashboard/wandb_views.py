"""The panels of the dashboard for Weights & Biases: a workspace and a report, pushed or written as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retinai.dashboard.collect import Collected
from retinai.errors import missing_extra
from retinai.files import write_text
from retinai.log import logger, note
from retinai.tracking.wandb_connection import wanted_mode

# Groups whose choice stands in the configuration as `<group>.name`; the others are plain keys.
_PLAIN_KEYS = {"phase": "phase", "seed": "seed", "fold": "data.fold"}
_METRICS = ("accuracy", "macro_f1", "auroc")


def share(collected: Collected, title: str, folder: Path, project: str, entity: str | None) -> list[str]:
    """Push the workspace and the report where a key of W&B is configured; write them as JSON in any case.

    Args:
        collected: The runs.
        title: Name of both.
        folder: Where the JSON files go.
        project: Of W&B.
        entity: Of W&B; None: the default one of the key.

    Returns:
        What happened, a sentence each.

    Raises:
        MissingExtraError: If wandb-workspaces is not installed.
    """
    views = {
        "workspace": workspace(collected, title, project, entity),
        "report": report(collected, title, project, entity),
    }
    said = []
    for name, view in views.items():
        path = folder / f"wandb_{name}.json"
        write_text(path, view_json(view))
        said.append(f"W&B {name}: {path}")
    if wanted_mode() != "online":
        return [*said, "not pushed to W&B: no key is configured, or WANDB_MODE says offline"]
    return [*said, *(sentence for name, view in views.items() for sentence in _push(name, view, entity))]


def _push(name: str, view: Any, entity: str | None) -> list[str]:
    try:
        if entity is None:
            import wandb

            view.entity = wandb.Api(timeout=20).default_entity
        view.save()
    except Exception as error:  # no network, an old key, another server: the files are there all the same
        logger.warning(f"wandb: the {name} was not pushed ({' '.join(str(error).split())[:200]})")
        return []
    note(f"wandb: {view.url}")
    return [f"pushed: {view.url}"]


def workspace(collected: Collected, title: str, project: str, entity: str | None) -> Any:
    """Return a `wandb_workspaces.workspaces.Workspace` with a section for each kind of panel."""
    ws, panels = _library("workspaces"), _panels(collected)
    sections = [ws.Section(name=name, panels=of(), is_open=True) for name, of in panels.items()]
    return ws.Workspace(entity=entity or "", project=project, name=title, sections=sections)


def report(collected: Collected, title: str, project: str, entity: str | None) -> Any:
    """Return a `wandb_workspaces.reports.v2.Report` with the same panels, one grid below the other."""
    wr = _library("reports.v2")
    blocks: list[Any] = []
    for name, of in _panels(collected).items():
        blocks += [
            wr.H2(text=name),
            # A set of runs without names is the report's own project; one with names is looked up at W&B at once.
            wr.PanelGrid(panels=of(), runsets=[wr.Runset(entity="", project="")]),
        ]
    text = "Runs of retinai. Research software, no medical device: not for diagnosis."
    return wr.Report(entity=entity or "", project=project, title=title[:128], description=text, blocks=blocks)


def view_json(view: Any) -> str:
    """Return what W&B would be sent, as JSON; the library checks it against its own model on the way."""
    model = view._to_model()  # the library has no public word for it
    return json.dumps(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)), indent=1) + "\n"


def _panels(collected: Collected) -> dict[str, Callable[[], list[Any]]]:
    """Return heading -> a function that makes the panels: each place needs its own."""
    wr = _library("reports.v2")
    measured = {key for run in collected.runs for key in run["metrics"]}
    metrics = list(dict.fromkeys([collected.monitor, *(key for key in _METRICS if key in measured)]))
    settings = [key for key in collected.varying if key not in ("seed", "fold")]

    def curves() -> list[Any]:
        shown = ["train/loss", "val/loss", f"val/{collected.monitor}"]
        return [
            wr.LinePlot(title=key, x="epoch", y=[key], groupby="Group" if len(collected.runs) > 12 else None)
            for key in shown
        ]

    def results() -> list[Any]:
        bars = [wr.BarPlot(title=f"test/{key}", metrics=[f"test/{key}"], max_bars_to_show=40) for key in metrics]
        return [*bars, wr.RunComparer(diff_only=True)]

    def parallel() -> list[Any]:
        columns = [wr.ParallelCoordinatesPlotColumn(metric=f"c::{_config_key(key)}") for key in collected.varying]
        columns.append(wr.ParallelCoordinatesPlotColumn(metric=f"test/{metrics[0]}"))
        return [
            wr.ParallelCoordinatesPlot(columns=columns),
            wr.ParameterImportancePlot(with_respect_to=f"test/{metrics[0]}"),
        ]

    tables = ("test/per_class", "test/confusion_matrix_table", "test/predictions")
    panels: dict[str, Callable[[], list[Any]]] = {"Curves": curves, "Test": results}
    if settings:
        panels["Settings"] = parallel
    panels["Classes and predictions"] = lambda: [wr.WeavePanelSummaryTable(table_name=name) for name in tables]
    return panels


def _config_key(setting: str) -> str:
    """Return the key of a setting in the configuration that W&B has of a run."""
    return _PLAIN_KEYS.get(setting) or (setting if "." in setting else f"{setting}.name")


def sweep_file(collected: Collected) -> str | None:
    """Return the YAML of a `wandb sweep` over the settings that differ between the runs; None where none does.

    Args:
        collected: The runs.
    """
    import yaml

    differing = {
        key: sorted({run["settings"].get(key) for run in collected.runs} - {None}, key=str) for key in collected.varying
    }
    parameters = {_word_key(key): {"values": values} for key, values in differing.items() if values}
    if not parameters:
        return None
    goal = "minimize" if collected.monitor in collected.lower_is_better else "maximize"
    content = {
        "program": "train.py",
        "method": "grid",
        "metric": {"name": f"val/{collected.monitor}", "goal": goal},
        "parameters": parameters,
        "command": ["${env}", "python", "${program}", "${args_no_hyphens}"],
    }
    return str(yaml.safe_dump(content, sort_keys=False))


def _word_key(setting: str) -> str:
    return "data.fold" if setting == "fold" else setting


def _library(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"wandb_workspaces.{part}")
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
