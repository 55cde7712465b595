"""What of an evaluation goes to Weights & Biases: numbers, tables, thumbnails, the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import wandb

from retinai.errors import UserError

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions

_SIDE = 128


def summary(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the test metrics as flat numbers: value and 95 % interval of each.

    Args:
        metrics: Content of `metrics.json`.
    """
    flat = {}
    for name, metric in metrics.items():
        if isinstance(metric, Mapping) and "value" in metric:
            for part in ("value", "low", "high"):
                if metric.get(part) is not None:
                    flat[f"test/{name}" + ("" if part == "value" else f"_{part}")] = float(metric[part])
    return flat


def of_evaluation(
    graded: Predictions, metrics: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Callable[[], dict[str, Any]]]:
    """Return functions that make what is logged of an evaluation: a confusion matrix, tables, thumbnails if asked for.

    Args:
        graded: Predictions with targets.
        metrics: Content of `metrics.json`.
        options: The `logger` section: `photographs`, `thumbnails`.
    """
    made: list[Callable[[], dict[str, Any]]] = [
        lambda: confusion_matrix(graded),
        lambda: {"test/per_class": per_class(metrics)},
    ]
    if options["photographs"]:
        made.append(lambda: {"test/predictions": predictions(graded, options["thumbnails"])})
    return made


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a table.

    Args:
        name: What it is logged as.
        rows: Plain values by column; a row that lacks one has nothing there.
    """
    columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
    data: list[Iterable[Any]] = [[_plain(row.get(str(column))) for column in columns] for row in rows]
    return {name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)}


def pictures(name: str, files: Sequence[Path], options: Mapping[str, Any]) -> list[Callable[[], dict[str, Any]]]:
    """Return a function that makes pictures of photographs, which leave the machine only when asked for.

    Args:
        name: What they are logged as.
        files: The pictures.
        options: The `logger` section: `photographs`, `thumbnails`.
    """
    if not options["photographs"] or not files:
        return []
    return [lambda: {name: [wandb.Image(str(file), caption=file.stem) for file in files[: options["thumbnails"]]]}]


def confusion_matrix(predictions: Predictions) -> dict[str, Any]:
    """Return the confusion matrix: one for grades, one of yes and no per class for several labels.

    Args:
        predictions: Predictions with targets.
    """
    if predictions.targets is None:
        return {}
    return {
        f"test/confusion_matrix{f'_{part.name}' if part.name else ''}": wandb.plot.confusion_matrix(
            y_true=part.targets.tolist(),
            preds=part.decisions.tolist(),
            class_names=[f"not {part.name}", part.name] if part.name else list(part.classes),
        )
        for part in predictions.task.decided_parts(predictions.targets, predictions.decisions)
    }


def per_class(metrics: Mapping[str, Any]) -> wandb.Table:
    """Return the table of classes: precision, recall and F1, each with its interval, and support.

    Args:
        metrics: Content of `metrics.json`.
    """
    columns = ["class"]
    columns += [f"{name}{part}" for name in ("precision", "recall", "f1") for part in ("", "_low", "_high")]
    table = wandb.Table(columns=[*columns, "support"])
    for name, row in metrics["per_class"].items():
        cells = [row[key][part] for key in ("precision", "recall", "f1") for part in ("value", "low", "high")]
        table.add_data(name, *cells, row["support"])
    return table


def predictions(predictions: Predictions, thumbnails: int) -> wandb.Table:
    """Return a table of predictions with thumbnails, those that give the truth least probability first.

    Args:
        predictions: Predictions, with or without targets.
        thumbnails: Number of rows.
    """
    frame = predictions.to_frame()
    rows = np.argsort(truth_probability(predictions), kind="stable")[:thumbnails]
    columns = [name for name in frame.columns if name != "path"]
    table = wandb.Table(columns=["photograph", *columns])
    for i in rows:
        row = frame.iloc[int(i)]
        table.add_data(_thumbnail(Path(str(row["path"]))), *(_plain(row[name]) for name in columns))
    return table


def truth_probability(predictions: Predictions) -> np.ndarray:
    """Return the probability that each prediction gives to the truth, shape (N,); 0 without targets.

    Of several labels it is the lowest.

    Args:
        predictions: Predictions.
    """
    probabilities = np.asarray(predictions.probabilities)
    if predictions.targets is None:
        return np.zeros(len(probabilities))
    return predictions.task.truth_probability(probabilities, predictions.targets)


def checkpoint(path: Path, run_id: str) -> wandb.Artifact:
    """Return the checkpoint as an artifact.

    Args:
        path: `best.ckpt`.
        run_id: Id of the W&B run, part of the artifact's name.
    """
    artifact = wandb.Artifact(f"best-{run_id}", type="model")
    artifact.add_file(str(path), name=path.name, policy="mutable", skip_cache=True)
    return artifact


def _thumbnail(path: Path) -> wandb.Image | None:
    from PIL import Image

    from retinai.data.photographs.images import read_photograph

    try:
        picture = Image.fromarray(read_photograph(path))
    except (UserError, OSError):
        return None  # the file was there when it was graded; a row without a picture is still a row
    picture.thumbnail((_SIDE, _SIDE))
    return wandb.Image(picture, file_type="jpg")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
