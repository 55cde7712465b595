"""What an evaluation tells of masks: how far they are the drawn ones, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retinai.lesion_segmentation.reading import COUNTS, PREDICTED, TEXT, TRUE
from retinai.lesions.metrics import findings_metrics
from retinai.lesions.pixel_metrics import mask_metrics
from retinai.lesions.report import FINDINGS_HEADER, findings_rows
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions

PART = "lesions"
MASKS_HEADER = ("mask", "with it", "threshold", "AUPR", "Dice", "regions found", "false alarms")
_EXAMPLES = 12
_HOW = (
    "AUPR: area under the precision-recall curve of all pixels of all photographs with masks, as the IDRiD challenge "
    "measures it. Dice at the threshold, mean over the photographs that have it. Regions found: the share of drawn "
    "regions with a predicted pixel; false alarms: predicted regions without a drawn pixel, per photograph. Intervals "
    "are 95 %, over photographs."
)


def lesions_part(predictions: Predictions, thresholds: Mapping[str, float]) -> list[ReportPart]:
    """Return the part of the masks; none where no photograph was read for them.

    Args:
        predictions: With the columns of `retinai.lesion_segmentation.reading.MaskReading`.
        thresholds: With which the masks were made.
    """
    if COUNTS not in predictions.columns:
        return []
    metrics = mask_metrics(predictions.columns[COUNTS], thresholds)
    count = metrics["photographs"]
    if not count:
        said = "Nobody drew masks on these photographs, so predicted ones were not measured."
        return [ReportPart(PART, metrics, [ReportSection("Lesions", [said])], [said])]
    tables = {f"masks, {count} photographs": ReportTable(MASKS_HEADER, mask_rows(metrics))}
    if TEXT in predictions.columns:
        metrics["findings"] = findings_metrics(predictions.columns[TEXT], predictions.columns[TRUE])
        tables[f"lesions named, {count} photographs"] = ReportTable(FINDINGS_HEADER, findings_rows(metrics["findings"]))
    section = ReportSection("Lesions", [_HOW], [*tables.values(), _examples(predictions)])
    return [ReportPart(PART, metrics, [section], tables=tables)]


def mask_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows below MASKS_HEADER.

    Args:
        metrics: Of `mask_metrics`.
    """
    keys = ("aupr", "dice", "sensitivity", "false_alarms")
    return [
        (
            name.replace("_", " "),
            str(values["photographs"]),
            f"{values['threshold']:.3f}",
            *(with_interval(values[key], 2) for key in keys),
        )
        for name, values in metrics["masks"].items()
    ]


def _examples(predictions: Predictions) -> ReportTable:
    """Return a table of some photographs: what was drawn, what is predicted, and how it is said."""
    columns = predictions.columns
    drawn = [row for row, true in enumerate(columns[TRUE]) if true is not None][:_EXAMPLES]
    texts = columns.get(TEXT, [""] * len(predictions))
    rows = [(predictions.ids[i], str(columns[TRUE][i]), str(columns[PREDICTED][i]), texts[i]) for i in drawn]
    return ReportTable(("photograph", "drawn", "predicted", "in words"), rows, numbers=False)
