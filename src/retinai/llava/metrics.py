"""What a language model wrote about photographs, beside what it should have written, and how much of it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retinai.lesions.findings import Findings
from retinai.lesions.metrics import findings_metrics


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
    def of_outputs(cls, outputs: Sequence[Mapping[str, Any]]) -> Answers | None:
        """Join what `predict_step` returned for the batches; None if that were no answers."""
        if not outputs or "answer" not in outputs[0]:
            return None
        texts, valid, references, facts = ([v for output in outputs for v in output[key]] for key in _KEYS)
        return cls(texts, valid, references, [None if f is None else Findings.from_dict(f) for f in facts])

    @property
    def written(self) -> bool:
        """Whether any answer was asked for."""
        return any(self.texts)

    def take(self, rows: Sequence[int]) -> Answers:
        """Return the answers of some photographs, chosen by row numbers."""
        return Answers(*([values[i] for i in rows] for values in self._parts()))

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns `valid`, `answer`, `reference` and `true_findings` of the table of predictions."""
        return {
            "valid": list(self.valid),
            "answer": list(self.texts),
            "reference": [reference or "" for reference in self.references],
            "true_findings": [describe(facts) for facts in self.findings],
        }

    def _parts(self) -> tuple[Sequence[Any], ...]:
        return self.texts, self.valid, self.references, self.findings


_KEYS = ("answer", "valid", "reference", "findings")


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


def describe(findings: Findings | None) -> str:
    """Return findings in a few words, such as `hard exudates 12, microaneurysms 3`; empty without annotation."""
    if findings is None or not findings.annotated:
        return ""
    there = ", ".join(f"{found.lesion.replace('_', ' ')} {found.count}" for found in findings.present)
    return there or "no lesions"
