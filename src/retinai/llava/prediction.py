"""What a language model finds out of photographs: answers, beside what they are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retinai.llava.text.parsing import parse_grade
from retinai.prediction.steps import PROBABILITY, PredictionStep

if TYPE_CHECKING:
    from retinai.llava.module import LlavaGrader


class Answers(PredictionStep):
    """The answers that the network writes after the grades that it gave; empty ones if it tells no findings.

    Results: `answer`; and if they are measured `valid`, whether a grade could be had, `reference`, the answer that
    training would ask for (None without a label), and `true_findings`, what the masks say (None without annotation).

    Args:
        measured: Whether the photographs are those of a data set, so that answers are measured.
    """

    name = "answers"

    def __init__(self, measured: bool = True) -> None:
        self.measured = measured

    def run(self, module: LlavaGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Write after the most probable grades."""
        count, grades = len(batch["id"]), found[PROBABILITY].argmax(dim=1).tolist()
        (seen,) = module.network_inputs(batch)
        texts = module.describe_lesions(seen, grades) if module.tells_findings else [""] * count
        return self.columns(module, batch, texts, [True] * count)

    def columns(
        self, module: LlavaGrader, batch: Mapping[str, Any], texts: list[str], valid: list[bool]
    ) -> dict[str, Any]:
        """Return the results, in the order of the columns of `predictions.csv`."""
        if not self.measured:
            return {"answer": texts}
        nothing = [None] * len(texts)
        return {
            "valid": valid,
            "answer": texts,
            "reference": [answer for _, answer in module.turns(batch)] if "target" in batch else nothing,
            "true_findings": batch.get("findings") or nothing,
        }


class FreeTextGrades(Answers):
    """Grades that are read out of free text: `probability` is 1 for the grade, and even where none was found."""

    name = "free text grades"

    def run(self, module: LlavaGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Write freely, and read the grades."""
        texts = module.write_answers(*module.network_inputs(batch))
        read = [parse_grade(text, module.task) for text in texts]
        columns = self.columns(module, batch, texts, [grade is not None for grade in read])
        return {PROBABILITY: _certain(read, module.task.num_classes), **columns}


def _certain(grades: Sequence[int | None], classes: int) -> Tensor:
    """Return one-hot probabilities, (B, C); even ones where there is no grade."""
    rows = torch.full((len(grades), classes), 1 / classes)
    for row, grade in zip(rows, grades, strict=True):
        if grade is not None:
            row.zero_()
            row[grade] = 1.0
    return rows
