"""What a language model wrote about photographs, beside what it should have written, and how much of it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retinai.lesions.findings import Findings
from retinai.lesions.metrics import findings_metrics

if TYPE_CHECKING:
    from retinai.prediction.predictions import Predictions


@dataclass(frozen=True)
class Answers:
    """The answers of a language model to N photographs.

    Args:
        texts: What it wrote; empty where it was not asked to.
        valid: Whether a grade could be had from the answer.
        references: The answers that training would ask for; None where a photograph has no label.
        findings: What the masks say; None where nobody annotated lesions.
    """

    texts: Sequence[str]
    valid: Sequence[bool]
    references: Sequence[str | None]
    findings: Sequence[Findings | None]

    @classmethod
    def of(cls, predictions: Predictions) -> Answers | None:
        """Return the answers among the columns of predictions; None where there are none."""
        if not set(_COLUMNS) <= set(predictions.columns):
            return None
        return cls(*(list(predictions.columns[name]) for name in _COLUMNS))

    @property
    def written(self) -> bool:
        """Whether any answer was asked for."""
        return any(self.texts)


_COLUMNS = ("answer", "valid", "reference", "true_findings")


def answer_metrics(answers: Answers) -> dict[str, Any]:
    """Return the share of valid grades, of answers that are exactly the reference, and the lesions' metrics.

    Args:
        answers: The answers; lesions are measured on annotated photographs only.

    Returns:
        Plain values: `n`, `valid`, `exact` (None without references or texts), `findings`
        (`findings_metrics`, None where no annotated photograph has a text).
    """
    labelled = [(text, r) for text, r in zip(answers.texts, answers.references, strict=True) if r is not None]
    exact = sum(text == reference for text, reference in labelled) / len(labelled) if labelled else None
    annotated = [(t, f) for t, f in zip(answers.texts, answers.findings, strict=True) if f is not None and f.annotated]
    told = answers.written and bool(annotated)
    return {
        "n": len(answers.texts),
        "valid": sum(answers.valid) / len(answers.valid),
        "exact": exact if answers.written else None,
        "findings": findings_metrics([t for t, _ in annotated], [f for _, f in annotated]) if told else None,
    }
