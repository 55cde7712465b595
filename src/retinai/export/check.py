"""The proof of an export: checkpoint and folder grade the same photographs, each in its own way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.errors import DataError
from retinai.log import logger
from retinai.runtime.engines import cpu_computes_bf16

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.grading import GradingModule
    from retinai.prediction.predictions import Predictions

# precision -> largest difference of a probability, largest loss of the metric. fp32 differs by rounding. bf16 has 8
# bits of mantissa and int8 has 8 bits in all: where a network wavers between two classes they move single
# probabilities far (0.11 and 0.31 were seen with no decision changed), which matters as far as decisions change.
_DEFAULTS = {"fp32": (0.001, 0.0), "bf16": (0.25, 0.005), "int8": (0.4, 0.005)}


@dataclass(frozen=True)
class Tolerance:
    """How far a folder may grade otherwise than its checkpoint.

    Args:
        difference: Largest difference of a probability.
        drop: Largest loss of the task's main metric (grades: QWK; several labels: macro F1).
    """

    difference: float
    drop: float

    @classmethod
    def choose(cls, cfg: DictConfig) -> Tolerance:
        """Return the tolerance of a configuration: its own numbers, or those of the precision."""
        difference, drop = _DEFAULTS[cfg.precision]
        return cls(
            difference if cfg.max_difference is None else float(cfg.max_difference),
            drop if cfg.max_drop is None else float(cfg.max_drop),
        )

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)

    def faults(self, comparison: dict[str, Any]) -> list[str]:
        """Return a clause for each limit that a comparison exceeds."""
        found, name = [], comparison["metric"]
        if comparison["largest_difference"] > self.difference:
            found.append(f"a probability differs by {comparison['largest_difference']:.4f} (limit {self.difference:g})")
        before, after = comparison["checkpoint"][name], comparison["folder"][name]
        if before is not None and (after is None or before - after > self.drop + 1e-9):
            changed = f"{comparison['changed_decisions']} of {comparison['photographs']} photographs decided otherwise"
            found.append(f"{name} falls from {before:.4f} to {_shown(after)} ({changed}, limit {self.drop:g})")
        return found


def compare(folder: Path, module: GradingModule, datamodule: FundusDataModule, split: str) -> dict[str, Any]:
    """Grade a split with the checkpoint and, from the photographs' files on, with the folder.

    Args:
        folder: An exported folder.
        module: The module that it was made of.
        datamodule: The data, set up.
        split: A labelled split.

    Returns:
        `photographs`; `left_out` (with no field of view, which a folder does not grade); `largest_difference` and
        `mean_difference` of a probability; `changed_decisions`; `metric`, the task's main one; under `checkpoint`
        and `folder` that metric and `accuracy`; `computed_bf16` (False where this CPU cannot).

    Raises:
        DataError: If the split has no labels.
    """
    from retinai.prediction.photographs import Photographs
    from retinai.prediction.predictions import Predictions
    from retinai.prediction.splits import predict_split
    from retinai.runtime import ExportedModel

    truth = predict_split(module, datamodule, split, accelerator="cpu")
    if truth.targets is None:
        raise DataError(f"the {split} split of {datamodule.name} has no labels to compare on")
    grader = ExportedModel(folder)
    table = grader.predict_photographs(Photographs(truth.ids, truth.paths), progress=True)
    good = np.flatnonzero((table["error"] == "").to_numpy())
    if len(good) == 0:
        raise DataError(f"no photograph of the {split} split of {datamodule.name} shows a field of view")
    truth = truth.take(good).calibrated(module.calibration)
    frame = table.iloc[good].assign(target=truth.to_frame()["target"].to_numpy(), patient=truth.patients)
    graded = Predictions.from_frame(frame, module.task, module.decision_rule)
    differences = np.abs(graded.probabilities - truth.probabilities)
    changed = graded.decisions != truth.decisions
    return {
        "photographs": len(good),
        "left_out": len(table) - len(good),
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "changed_decisions": int(changed.reshape(len(good), -1).any(axis=1).sum()),
        "metric": module.task.main_metric,
        "checkpoint": _scores(truth),
        "folder": _scores(graded),
        "computed_bf16": cpu_computes_bf16() if grader.folder.precision == "bf16" else None,
    }


def _scores(predictions: Predictions) -> dict[str, float | None]:
    from retinai.prediction.metrics import compute_metrics

    metrics = compute_metrics(predictions, resamples=0)
    names = (predictions.task.main_metric, "accuracy")
    return {name: metrics[name]["value"] for name in names if name in metrics}


def tell_comparison(comparison: dict[str, Any]) -> None:
    """Tell how checkpoint and folder compare, a line per number."""
    logger.info(
        f"compared on {comparison['photographs']} photographs, {comparison['changed_decisions']} decided otherwise"
    )
    largest, mean = comparison["largest_difference"], comparison["mean_difference"]
    logger.info(f"  difference of a probability: {largest:.2g} at most, {mean:.2g} on average")
    for name, before in comparison["checkpoint"].items():
        after = comparison["folder"][name]
        change = "" if before is None or after is None else f" (change {after - before:+.4f})"
        logger.info(f"  {name}: checkpoint {_shown(before)}, folder {_shown(after)}{change}")
    if comparison["left_out"]:
        logger.info(f"  {comparison['left_out']} photographs show no field of view, which a folder does not grade")
    if comparison["computed_bf16"] is False:
        logger.info("  this CPU has no bfloat16 arithmetic, so the folder was compared in float32")


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
