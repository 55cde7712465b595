"""What a language model is asked about a photograph, and how its answers become numbers: for grades and for labels."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retinai.errors import ConfigError
from retinai.lesions.findings import Findings
from retinai.llava.text.prompts import PromptTemplates
from retinai.tasks.task import Task

if TYPE_CHECKING:
    from retinai.llava.network import LlavaNetwork


_GRADINGS = ("score", "generate")


@dataclass(frozen=True)
class Turn:
    """A question about a photograph, and its answer.

    Args:
        row: Number of the photograph in its batch.
        question: What is asked.
        answer: What is to be learnt.
        head: The words at the beginning of the answer that decide; empty where the answer brings its own.
    """

    row: int
    question: str
    answer: str
    head: str


class Asking(ABC):
    """What is asked for one kind of task.

    Args:
        task: The task.
        prompts: The templates.
    """

    def __init__(self, task: Task, prompts: PromptTemplates) -> None:
        self.task, self.prompts = task, prompts

    @abstractmethod
    def turns(self, batch: Mapping[str, Any], epoch: int) -> list[Turn]:
        """Return the turns that a labelled batch is learnt from."""

    @abstractmethod
    def scores(self, network: LlavaNetwork, seen: Tensor, per_token: bool) -> Tensor:
        """Return what takes the place of logits, (B, C).

        Args:
            network: The network.
            seen: Photographs (B, 3, S, S) or vision tokens (B, N, C).
            per_token: Divide log-likelihoods by the number of tokens that they are of.
        """

    @abstractmethod
    def texts(self) -> list[str]:
        """Return one text per class: a grade's sentence, or the question about a label."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what a program needs to ask the same, as plain values."""


class GradeAsking(Asking):
    """One question; the scores are the log-likelihoods of the grades' sentences, with which every answer begins.

    Attributes:
        candidates: The grades' sentences.
        tells_lesions: Whether questions name the lesions of a photograph.
    """

    tells_lesions = False

    def __init__(self, task: Task, prompts: PromptTemplates) -> None:
        super().__init__(task, prompts)
        self.candidates = [prompts.grade_text(task, grade) for grade in range(task.num_classes)]

    def turns(self, batch: Mapping[str, Any], epoch: int) -> list[Turn]:
        """Return one turn per photograph.

        A conversation that the data set brings (JSONL) is taken as it is; otherwise the templates write one from grade
        and findings, the question's phrasing anew in each epoch.
        """
        written = batch.get("conversation") or [None] * len(batch["id"])
        findings = batch.get("findings") or [None] * len(batch["id"])
        rows = zip(batch["id"], batch["target"].tolist(), written, findings, strict=True)
        turns = []
        for row, (name, target, given, facts) in enumerate(rows):
            question = self.prompts.question(f"{name}/{epoch}")
            if given is not None:
                question, answer = given
            else:
                answer = self.prompts.answer(self.task, int(target), facts, name)
            sentence = self.candidates[int(target)]
            turns.append(Turn(row, question, answer, sentence if answer.startswith(sentence) else ""))
        return turns

    def question(self, findings: Findings | None) -> str:
        """Return what a photograph is asked about when an answer is written; here the same for all.

        Args:
            findings: What its masks say, where they are known.
        """
        return self.prompts.question()

    def scores(self, network: LlavaNetwork, seen: Tensor, per_token: bool) -> Tensor:
        """Return the log-likelihood of each grade's sentence."""
        question = self.prompts.question()
        scores = network.score(question, self.candidates, seen)
        return scores / _lengths(network, question, self.candidates, scores) if per_token else scores

    def texts(self) -> list[str]:
        """Return the grades' sentences."""
        return list(self.candidates)

    def settings(self) -> dict[str, Any]:
        """Return question and sentences."""
        return {"question": self.prompts.question(), "grade_sentences": list(self.candidates)}


class ToldAsking(GradeAsking):
    """Questions that tell which lesions a photograph has, where somebody annotated them."""

    tells_lesions = True

    def turns(self, batch: Mapping[str, Any], epoch: int) -> list[Turn]:
        """Return the turns of `GradeAsking`, with the lesions in the question; conversations of the data stay."""
        given = batch.get("conversation") or [None] * len(batch["id"])
        findings = batch.get("findings") or [None] * len(batch["id"])
        return [
            turn if given[turn.row] else replace(turn, question=self.prompts.tell(turn.question, findings[turn.row]))
            for turn in super().turns(batch, epoch)
        ]

    def question(self, findings: Findings | None) -> str:
        """Return the question with the lesions."""
        return self.prompts.tell(super().question(findings), findings)


class LabelAsking(Asking):
    """A question per label; its score is log p(Yes) - log p(No), so that its sigmoid is the label's probability.

    Args:
        task: A task of labels.
        prompts: The templates.
        each: Labels that a photograph is asked about in one epoch; all of them take turns.
    """

    def __init__(self, task: Task, prompts: PromptTemplates, each: int = 1) -> None:
        super().__init__(task, prompts)
        self.each = min(each, task.num_classes)
        self.questions = [prompts.label_question_text(task, label) for label in range(task.num_classes)]
        self.answers = (prompts.label_yes, prompts.label_no)

    def turns(self, batch: Mapping[str, Any], epoch: int) -> list[Turn]:
        """Return `each` turns per photograph: which labels follows from its id and the epoch."""
        count, turns = len(self.questions), []
        for row, (name, target) in enumerate(zip(batch["id"], batch["target"].tolist(), strict=True)):
            begin = int.from_bytes(hashlib.sha256(f"{self.prompts.seed}|{name}".encode()).digest()[:8], "big")
            for number in range(self.each):
                label = (begin + epoch * self.each + number) % count
                answer = self.answers[0] if target[label] else self.answers[1]
                turns.append(Turn(row, self.questions[label], answer, answer))
        return turns

    def scores(self, network: LlavaNetwork, seen: Tensor, per_token: bool) -> Tensor:
        """Return log p(Yes) - log p(No) after each label's question."""
        kept = network.look(seen) if seen.ndim == 4 else seen  # once for all labels
        columns = []
        for question in self.questions:
            pair = network.score(question, self.answers, kept)
            if per_token:
                pair = pair / _lengths(network, question, self.answers, pair)
            columns.append(pair[:, 0] - pair[:, 1])
        return torch.stack(columns, dim=1)

    def texts(self) -> list[str]:
        """Return the labels' questions."""
        return list(self.questions)

    def settings(self) -> dict[str, Any]:
        """Return the labels' questions and the two answers."""
        return {"label_questions": list(self.questions), "label_answers": list(self.answers)}


def check_choices(task: Mapping[str, Any], grading: str, counts: Mapping[str, int]) -> None:
    """Check what a task can be asked, and how.

    Args:
        task: `Task.to_dict()`.
        grading: `score` or `generate`.
        counts: Numbers that must be 1 or more, by key of the `model` section.

    Raises:
        ConfigError: With all problems.
    """
    problems, kinds = [], Task.from_dict(task).target_types
    if not {"ordered", "labels"} & {*kinds}:
        problems.append(f"model=llava gives grades or labels; task {task['name']!r} has neither, use model=classifier")
    if grading not in _GRADINGS:
        problems.append(f"model.grading={grading} is unknown; valid: {', '.join(_GRADINGS)}")
    if grading == "generate" and "ordered" not in kinds:
        problems.append(f"grading=generate reads grades out of text; task {task['name']!r} has labels: grading=score")
    problems += [f"model.{key}={count} must be 1 or more" for key, count in counts.items() if count < 1]
    if problems:
        raise ConfigError(problems)


def make_asking(task: Task, prompts: PromptTemplates, each: int) -> Asking:
    """Return what is asked for a task of ordered grades or of labels."""
    if "labels" in task.target_types:
        return LabelAsking(task, prompts, each)
    return GradeAsking(task, prompts)


def _lengths(network: LlavaNetwork, question: str, answers: Sequence[str], scores: Tensor) -> Tensor:
    _, own = network.conversations.continuations(question, answers)
    return torch.tensor([len(tokens) for tokens in own], device=scores.device)
