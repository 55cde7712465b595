"""The report's section on what a language model wrote: valid grades, exact answers, lesions, examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retinai.lesions.report import FINDINGS_HEADER, findings_rows
from retinai.llava.metrics import Answers, answer_metrics
from retinai.reports.parts import ReportPart
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.wording import with_interval

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions

_EXAMPLES = 12
_KINDS = {"another_grade": "state another grade", "referral": "refer wrongly", "lesions": "by lesions"}
_COMPARED = ("answers", "contradict the grade", "precision", "recall", "invented", "photographs with invented", "exact")
_NONE = {"value": None, "low": None, "high": None}


def answers_part(predictions: Predictions) -> list[ReportPart]:
    """Return the part of the answers; none where there are no answers among the columns.

    Args:
        predictions: With the columns of `retinai.llava.prediction.Answers`.
    """
    answers = Answers.of(predictions)
    if answers is None:
        return []
    results = answer_metrics(answers)
    lesions: dict[str, ReportTable] = {}
    if results["template"] is not None:
        lesions["written by the language model, and filled in without looking"] = _comparison(results)
    if results["findings"] is not None:
        title = f"lesions named, {results['findings']['photographs']} photographs with masks"
        lesions[title] = ReportTable(FINDINGS_HEADER, findings_rows(results["findings"]))
    tables = [*lesions.values(), *([_examples(predictions)] if answers.written else [])]
    exact = "" if results["exact"] is None else f"; answers that are word for word right: {results['exact']:.1%}"
    return [
        ReportPart(
            name="answers",
            metrics=results,
            sections=[ReportSection("Answers", answer_sentences(results), tables)],
            lines=[f"valid grades: {results['valid']:.1%} of {results['n']}{exact}"],
            tables=lesions,
        )
    ]


def answer_sentences(results: Mapping[str, Any]) -> list[str]:
    """Return what `answer_metrics` found, as sentences."""
    sentences = [f"{results['valid']:.1%} of {results['n']} photographs got a valid grade."]
    if results["exact"] is not None:
        sentences.append(f"{results['exact']:.1%} of the answers are word for word what the labels and masks say.")
    sentences += _contradictions(results)
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


def _contradictions(results: Mapping[str, Any]) -> list[str]:
    found = results["contradictions"]
    if found is None or found["value"] is None:
        return []
    kinds = ", ".join(f"{found[kind]} {words}" for kind, words in _KINDS.items())
    true = "" if found["references"] is None else (
        f" By the same rules {found['references']:.1%} of the true answers contradict their true grade."
    )  # fmt: skip
    return [f"{found['value']:.1%} of the answers contradict the grade that they begin with ({kinds}).{true}"]


def _comparison(results: Mapping[str, Any]) -> ReportTable:
    """Return what was written beside what a template says that is filled in by the grade alone."""
    rows = []
    for name, part in (("language model", results), ("template, filled in without looking", results["template"])):
        found = part["findings"]
        lesions = [found["all"][key] for key in ("precision", "recall", "invented")] if found else [_NONE] * 3
        wrong = found["photographs_with_invented"] if found else _NONE
        exact = "-" if part["exact"] is None else f"{part['exact']:.1%}"
        shares = (with_interval(value, 2) for value in (part["contradictions"], *lesions, wrong))
        rows.append((name, *shares, exact))
    return ReportTable(_COMPARED, rows)


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
