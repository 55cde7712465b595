"""The report's section on what a language model wrote: valid grades, exact answers, lesions, examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retinai.lesions.report import FINDINGS_HEADER, findings_rows
from retinai.reports.sections import ReportSection, ReportTable

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions

_EXAMPLES = 12


def answers_section(predictions: Predictions, metrics: Mapping[str, Any]) -> ReportSection | None:
    """Return the section of `metrics["answers"]`; None of a model that writes none.

    Args:
        predictions: With answers.
        metrics: Content of metrics.json.
    """
    results = metrics.get("answers")
    if results is None or predictions.answers is None:
        return None
    tables = [] if results["findings"] is None else [ReportTable(FINDINGS_HEADER, findings_rows(results["findings"]))]
    if predictions.answers.written:
        tables.append(_examples(predictions))
    return ReportSection("Answers", answer_sentences(results), tables)


def answer_sentences(results: Mapping[str, Any]) -> list[str]:
    """Return what `answer_metrics` found, as sentences."""
    sentences = [f"{results['valid']:.1%} of {results['n']} photographs got a valid grade."]
    if results["exact"] is not None:
        sentences.append(f"{results['exact']:.1%} of the answers are word for word what the labels and masks say.")
    findings = results["findings"]
    if findings is not None:
        share = findings["photographs_with_invented"]["value"]
        sentences.append(
            f"Lesions were measured on the {findings['photographs']} photographs with masks; on {share:.1%} of them a "
            "lesion is named that is not there. Precision: of the photographs on which a lesion is named, the share "
            "that has it; recall: of those that have it, the share on which it is named; invented: of those that do "
            "not have it, the share on which it is named all the same. Intervals are 95 %."
        )
    return sentences


def _examples(predictions: Predictions) -> ReportTable:
    """Return a table of some answers, the annotated photographs first."""
    frame = predictions.to_frame()
    order = sorted(range(len(frame)), key=lambda row: frame["true_findings"].iloc[row] == "")[:_EXAMPLES]
    rows = []
    for row in order:
        at = frame.iloc[row]
        grade = "" if predictions.targets is None else str(at["target"])
        rows.append((str(at["id"]), grade, str(at["prediction"]), str(at["true_findings"]), str(at["answer"])))
    return ReportTable(("photograph", "grade", "predicted", "lesions of the masks", "answer"), rows, numbers=False)
