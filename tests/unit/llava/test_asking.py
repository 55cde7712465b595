"""What is asked about grades and labels, and how the tokens of a grade weigh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_llava import small_network, write_language
from torch.nn import functional

from retinai.config.paths import conf_dir
from retinai.errors import ConfigError
from retinai.llava.asking import GradeAsking, LabelAsking
from retinai.llava.encoding import IGNORED
from retinai.llava.loss import AnswerLikelihood
from retinai.llava.network import LlavaNetwork
from retinai.llava.text.prompts import PromptTemplates
from retinai.tasks.known import DR_GRADE, ODIR_8, ODIR_COURSE


def prompts(**changes: Any) -> PromptTemplates:
    values = yaml.safe_load((conf_dir() / "prompt" / "default.yaml").read_text(encoding="utf-8"))
    del values["_target_"]
    return PromptTemplates(**{**values, **changes})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LlavaNetwork:
    return small_network(write_language(tmp_path_factory.mktemp("language")))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_label_is_scored_by_yes_over_no(network: LlavaNetwork, images: torch.Tensor) -> None:
    asking = LabelAsking(ODIR_COURSE, prompts())
    with torch.no_grad():
        scores = asking.scores(network, images, per_token=False)
        for label, question in enumerate(asking.questions):
            logs = []
            for answer in ("Yes.", "No."):
                ids = torch.tensor([network.conversations.prompt(question, answer)] * 2)
                begun = len(network.conversations.prompt(question))
                all_logs = network.model(input_ids=ids, pixel_values=images).logits.float().log_softmax(-1)
                steps = range(begun, ids.shape[1])
                logs.append(sum(all_logs[:, place - 1, ids[0, place]] for place in steps))
            torch.testing.assert_close(scores[:, label], logs[0] - logs[1], atol=1e-4, rtol=1e-4)
    assert scores.shape == (2, 3)


def test_the_order_of_labels_changes_no_score(network: LlavaNetwork, images: torch.Tensor) -> None:
    turned = type(ODIR_8)("odir", tuple(reversed(ODIR_8.classes)))
    with torch.no_grad():
        one = LabelAsking(ODIR_8, prompts()).scores(network, images, per_token=False)
        two = LabelAsking(turned, prompts()).scores(network, images, per_token=False)
    torch.testing.assert_close(one, two.flip(1))


def test_every_label_has_its_turn_and_the_true_answer() -> None:
    asking = LabelAsking(ODIR_8, prompts(), each=2)
    target = torch.tensor([[1, 0, 0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1, 1]], dtype=torch.float32)
    batch = {"id": ["a", "b"], "target": target}
    turns = [turn for epoch in range(4) for turn in asking.turns(batch, epoch)]
    asked = {(turn.row, asking.questions.index(turn.question)): turn.answer for turn in turns}
    assert len(turns) == len(asked) == 16
    assert all(answer == ("Yes." if target[row, label] else "No.") for (row, label), answer in asked.items())


@pytest.mark.parametrize(("yes", "no"), [("Yes.", "Yes, but no."), ("There is.", "There is not."), ("No.", "Yes.")])
def test_answers_without_yes_and_no_are_refused(yes: str, no: str) -> None:
    with pytest.raises(ConfigError, match="must begin with Yes and No"):
        prompts(label_yes=yes, label_no=no)


def test_a_label_question_needs_its_label() -> None:
    with pytest.raises(ConfigError, match=r"label_question .* lacks the field \{label\}"):
        prompts(label_question="Is it there?")


def test_the_loss_of_labels_is_that_of_pytorch() -> None:
    criterion = AnswerLikelihood(task=ODIR_COURSE, class_counts=[1, 1, 1], num_samples=4)
    logits, targets = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(criterion(logits, targets), expected)
    torch.testing.assert_close(criterion.probabilities(logits), logits.sigmoid())


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_the_tokens_of_the_grade_weigh_as_asked(network: LlavaNetwork, images: torch.Tensor, weight: float) -> None:
    asking = GradeAsking(DR_GRADE, prompts())
    (turn,) = asking.turns({"id": ["a"], "target": torch.tensor([2])}, 0)
    assert turn.head == "Grade 2 (moderate)." and turn.answer.startswith(turn.head) and turn.answer != turn.head
    encoded = network.conversations.encode([(turn.question, turn.answer)])
    begun = len(network.conversations.prompt(turn.question))
    end = len(network.conversations.prompt(turn.question, turn.head))
    with torch.no_grad():
        loss = network([(turn.question, turn.answer)], images[:1], [(turn.head, weight)])
        logs = network.model(input_ids=encoded.input_ids, pixel_values=images[:1]).logits.float().log_softmax(-1)[0]
    ids, length = encoded.input_ids[0], int((encoded.labels != IGNORED).sum()) + begun
    weights = torch.tensor([weight if place < end else 1.0 for place in range(begun, length)])
    losses = torch.stack([-logs[place - 1, ids[place]] for place in range(begun, length)])
    torch.testing.assert_close(loss[0], (losses * weights).sum() / weights.sum(), atol=1e-4, rtol=1e-4)


def test_a_conversation_of_the_data_set_has_no_grade_to_weigh() -> None:
    asking = GradeAsking(DR_GRADE, prompts())
    batch = {"id": ["a"], "target": torch.tensor([2]), "conversation": [("What?", "Moderate, I think.")]}
    assert asking.turns(batch, 0)[0].head == ""


@pytest.mark.parametrize("weight", [0.0, -1.0, 1e6])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"loss\.grade_weight="):
        AnswerLikelihood(task=DR_GRADE, class_counts=[1] * 5, grade_weight=weight)


def test_prompts_survive_their_dict(tmp_path: Path) -> None:
    own = prompts(label_question="Is {label} there?", label_yes="Yes, it is.", label_no="No, it is not.")
    assert PromptTemplates(**own.to_dict()).to_dict() == own.to_dict()
