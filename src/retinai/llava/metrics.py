"""What a language model wrote about photographs, beside what it should have written, and how much of it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from retinai.lesions.findings import Findings
from retinai.lesions.metrics import findings_metrics, wilson
from retinai.llava.text.contradictions import KINDS, contradictions
from retinai.tasks.task import Task

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
        task: A task of grades.
        grades: The grades that were given.
        targets: The true grades; None where photographs have no labels.
        templates: What a template says that knows the grade alone; None where none could be filled in.
    """

    texts: Sequence[str]
    valid: Sequence[bool]
    references: Sequence[str | None]
    findings: Sequence[Findings | None]
    task: Task
    grades: Sequence[int]
    targets: Sequence[int] | None = None
    templates: Sequence[str | None] = ()

    @classmethod
    def of(cls, predictions: Predictions) -> Answers | None:
        """Return the answers among the columns of predictions; None where there are none."""
        if not set(_COLUMNS) <= set(predictions.columns):
            return None
        targets = None if predictions.targets is None else predictions.targets.tolist()
        texts, valid, references, findings = (list(predictions.columns[name]) for name in _COLUMNS)
        return cls(
            texts,
            valid,
            references,
            findings,
            task=predictions.task,
            grades=predictions.decisions.tolist(),
            targets=targets,
            templates=list(predictions.columns.get("template", ())),
        )

    @property
    def written(self) -> bool:
        """Whether any answer was asked for."""
        return any(self.texts)

    @property
    def from_templates(self) -> Answers | None:
        """The same photographs and grades with what templates say; None where none could be filled in."""
        if not self.written or not any(self.templates):
            return None
        return replace(self, texts=[text or "" for text in self.templates], templates=())


_COLUMNS = ("answer", "valid", "reference", "true_findings")


def answer_metrics(answers: Answers) -> dict[str, Any]:
    """Return the share of valid grades, and how much of what was written holds.

    Args:
        answers: The answers; lesions are measured on annotated photographs only.

    Returns:
        Plain values: `n`, `valid`; `exact`, the share of answers that are exactly the reference (None without
        references or texts); `findings` (`findings_metrics`, None where no annotated photograph has a text);
        `contradictions` (`contradiction_metrics`, None without texts); and `template`, the last three of templates
        filled in after the same grades (None where none could be).
    """
    filled = answers.from_templates
    template = None
    if filled is not None:
        template = {key: value for key, value in answer_metrics(filled).items() if key in _OF_TEXTS}
    return {
        "n": len(answers.texts),
        "valid": sum(answers.valid) / len(answers.valid),
        "exact": _exact(answers) if answers.written else None,
        "findings": _findings(answers) if answers.written else None,
        "contradictions": contradiction_metrics(answers) if answers.written else None,
        "template": template,
    }


_OF_TEXTS = ("exact", "findings", "contradictions")


def contradiction_metrics(answers: Answers) -> dict[str, Any]:
    """Return the share of answers that contradict the grade that was given, see `contradictions`.

    Args:
        answers: The answers; those without a grade or a text are left out.

    Returns:
        Plain values: `value`, `low`, `high` (95 % interval by Wilson, None where there are no answers), `photographs`,
        how many of them for each of KINDS, and `references`, the share of true answers that contradict their own true
        grade by these rules (None without references), which says how far the rules fit the annotators.
    """
    rows = zip(answers.texts, answers.grades, answers.valid, strict=True)
    found = [contradictions(text, grade, answers.task) for text, grade, valid in rows if text and valid]
    true = [
        bool(contradictions(text, grade, answers.task))
        for text, grade in zip(answers.references, answers.targets or [], strict=False)
        if text is not None
    ]
    return {
        **wilson(sum(map(bool, found)), len(found)),
        "photographs": len(found),
        **{kind: sum(kind in kinds for kinds in found) for kind in KINDS},
        "references": sum(true) / len(true) if true else None,
    }


def _exact(answers: Answers) -> float | None:
    labelled = [(text, r) for text, r in zip(answers.texts, answers.references, strict=True) if r is not None]
    return sum(text == reference for text, reference in labelled) / len(labelled) if labelled else None


def _findings(answers: Answers) -> dict[str, Any] | None:
    annotated = [(t, f) for t, f in zip(answers.texts, answers.findings, strict=True) if f is not None and f.annotated]
    return findings_metrics([t for t, _ in annotated], [f for _, f in annotated]) if annotated else None
