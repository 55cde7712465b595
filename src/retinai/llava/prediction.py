"""What a language model finds out of photographs: answers, beside what they are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retinai.llava.text.parsing import parse_grade
from retinai.metrics.decisions import decide
from retinai.prediction.steps import PROBABILITY, PredictionStep

if TYPE_CHECKING:
    from retinai.llava.module import LlavaGrader


class Answers(PredictionStep):
    """The answers that the network writes after the grades that it gave; empty ones if it tells no findings.

    Results: `answer`; and if they are measured `valid`, whether a grade could be had, `template`, what a template says
    that knows the grade alone (None where none can be filled in), `reference`, the answer that training would ask for
    (None without a label), and `true_findings`, what the masks say (None without annotation).

    Args:
        measured: Whether the photographs are those of a data set, so that answers are measured.
    """

    name = "answers"

    def __init__(self, measured: bool = True) -> None:
        self.measured = measured

    def run(self, module: LlavaGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Write after the grades that were decided."""
        count, grades = len(batch["id"]), decide(found[PROBABILITY], module.decision_rule).tolist()
        texts = [""] * count
        if module.tells_findings:
            texts = module.describe_lesions(module.seen(batch), grades, batch.get("findings"))
        return self.columns(module, batch, texts, grades)

    def columns(
        self, module: LlavaGrader, batch: Mapping[str, Any], texts: list[str], grades: Sequence[int | None]
    ) -> dict[str, Any]:
        """Return the results, in the order of the columns of `predictions.csv`; a grade is None where none was had."""
        if not self.measured:
            return {"answer": texts}
        nothing = [None] * len(texts)
        findings = batch.get("findings") or nothing
        rows = zip(batch["id"], grades, findings, strict=True)
        filled = [None if grade is None else module.template_answer(name, grade, found) for name, grade, found in rows]
        return {
            "valid": [grade is not None for grade in grades],
            "answer": texts,
            "template": filled,
            "reference": [answer for _, answer in module.turns(batch)] if "target" in batch else nothing,
            "true_findings": findings,
        }


class FreeTextGrades(Answers):
    """Grades that are read out of free text: `probability` is 1 for the grade, and even where none was found."""

    name = "free text grades"

    def run(self, module: LlavaGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Write freely, and read the grades."""
        texts = module.write_answers(module.seen(batch))
        read = [parse_grade(text, module.task) for text in texts]
        return {PROBABILITY: _certain(read, module.task.num_classes), **self.columns(module, batch, texts, read)}


def _certain(grades: Sequence[int | None], classes: int) -> Tensor:
    """Return one-hot probabilities, (B, C); even ones where there is no grade."""
    rows = torch.full((len(grades), classes), 1 / classes)
    for row, grade in zip(rows, grades, strict=True):
        if grade is not None:
            row.zero_()
            row[grade] = 1.0
    return rows
