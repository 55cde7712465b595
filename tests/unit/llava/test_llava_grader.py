from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from module_factory import write

from retinai.config.paths import conf_dir
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import CheckpointError, ConfigError
from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding
from retinai.llava.module import LlavaGrader
from retinai.modules.load import load_module
from retinai.modules.warm_start import load_start_weights
from retinai.tasks.binary import BinaryTask
from retinai.tasks.known import DR_GRADE, ODIR_8
from retinai.tasks.task import Task


def section(group: str, option: str, **changes: Any) -> dict[str, Any]:
    values = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return {**{k: v for k, v in values.items() if k != "_target_"}, **changes}


def grader(task: Task = DR_GRADE, tuning: dict[str, Any] | None = None, **options: Any) -> LlavaGrader:
    backbone = section("backbone", "llava_tiny")
    size, mean, std = (backbone[key] for key in ("input_size", "mean", "std"))
    return LlavaGrader(
        task=task.to_dict(),
        preprocessing=Preprocessing(size, tuple(mean), tuple(std)).to_dict(),
        class_counts=[4] * task.num_classes,
        backbone=backbone,
        tuning=tuning or section("tuning", "qlora"),
        prompt=section("prompt", "default"),
        loss={"_target_": "retinai.llava.loss.AnswerLikelihood", "name": "answer"},
        optimizer=section("optimizer", "adamw_8bit"),
        scheduler=section("scheduler", "cosine"),
        **options,
    )


@pytest.fixture(scope="module")
def module() -> LlavaGrader:
    return grader(max_answer_tokens=4).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    there = LesionFinding("microaneurysms", 3, 0.001, ("upper left",))
    facts = Findings(LESION_NAMES, (there,), "")
    images = torch.randn(3, 3, 168, 168, generator=torch.Generator().manual_seed(0))
    return {"image": images, "id": ["a", "b", "c"], "target": torch.tensor([0, 2, 4]), "findings": [None, facts, None]}


def test_every_photograph_gets_a_valid_grade(module: LlavaGrader, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        output = module.predict_step(batch)
        scores = module(batch["image"])
    assert output["id"] == ["a", "b", "c"] and output["valid"] == [True] * 3
    torch.testing.assert_close(output["probability"], scores.float().softmax(dim=1))
    grades = output["probability"].argmax(dim=1).tolist()
    assert all(t.startswith(module.asking.candidates[g]) for t, g in zip(output["answer"], grades, strict=True))
    assert output["true_findings"] == batch["findings"]


def test_references_are_the_answers_of_training(module: LlavaGrader, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        references = module.predict_step(batch)["reference"]
    assert references == [answer for _, answer in module.turns(batch)]
    assert references[0].startswith("Grade 0") and "microaneurysms" in references[1]


def test_a_conversation_of_the_data_is_taken_as_it_is(module: LlavaGrader, batch: dict[str, Any]) -> None:
    turns = module.turns({**batch, "conversation": [("Why?", "Grade 0 (no DR)."), None, None]})
    assert turns[0] == ("Why?", "Grade 0 (no DR).") and turns[1] == module.turns(batch)[1]


def test_free_text_without_a_grade_is_counted_as_invalid(batch: dict[str, Any]) -> None:
    free = grader(grading="generate", max_answer_tokens=1).eval()  # one token cannot hold a grade
    with torch.no_grad():
        output = free.predict_step(batch)
    assert output["valid"] == [False] * 3
    torch.testing.assert_close(output["probability"], torch.full((3, 5), 0.2))


def test_free_text_with_a_grade_decides(batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    free = grader(grading="generate").eval()
    monkeypatch.setattr(free.network, "write", lambda *_: ["Grade 3 (severe). No lesions.", "who knows", "Grade 1"])
    output = free.predict_step(batch)
    assert output["valid"] == [True, False, True]
    assert output["probability"].argmax(dim=1).tolist()[::2] == [3, 1]


def test_likelihoods_per_token(module: LlavaGrader, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        whole = module(batch["image"])
        module.length_normalised = True
        per_token = module(batch["image"])
        module.length_normalised = False
    _, own = module.network.conversations.continuations(module.prompts.question(), module.asking.candidates)
    torch.testing.assert_close(per_token * torch.tensor([len(tokens) for tokens in own]), whole)


def test_a_checkpoint_is_small_and_stands_alone(tmp_path: Path, batch: dict[str, Any]) -> None:
    module = grader(max_answer_tokens=2)
    with torch.no_grad():
        for parameter in module.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    module.eval()
    path = tmp_path / "tiny.ckpt"
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    write(checkpoint, path)
    trained = sum(p.numel() for p in module.network.parameters() if p.requires_grad)
    assert path.stat().st_size < 4 * trained * 1.15 + 100_000  # float32, names and settings; nothing frozen
    loaded = load_module(path)
    with torch.no_grad():
        torch.testing.assert_close(loaded.predict_step(batch)["probability"], module.predict_step(batch)["probability"])
    fresh = grader()
    told = load_start_weights(path, fresh)
    assert "adapters and projector" in told[0] and str(path) in told[0]
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in fresh.state_dict().items())
    with pytest.raises(CheckpointError, match="rank 16 there, 4 here"):
        load_start_weights(path, grader(tuning=section("tuning", "qlora", rank=4)))


def test_another_base_network_is_refused(tmp_path: Path, module: LlavaGrader) -> None:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    checkpoint["retinai"]["frozen"]["kept"] = "bfloat16"
    with pytest.raises(CheckpointError, match="kept as bfloat16"):
        load_module(write(checkpoint, tmp_path / "kept.ckpt"))
    checkpoint["retinai"]["frozen"]["sha256"] = "0" * 64
    path = write(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="another base network"):
        load_module(path)
    with pytest.raises(CheckpointError, match=r"other\.ckpt: .*another base network"):
        load_start_weights(path, module)


def test_start_weights_may_have_been_trained_beside_weights_kept_otherwise(tmp_path: Path, module: LlavaGrader) -> None:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    beside = grader(tuning={**section("tuning/lora", "llava"), "name": "lora"})
    assert beside.network.backbone.kept != module.network.backbone.kept
    told = load_start_weights(write(checkpoint, tmp_path / "start.ckpt"), beside)
    assert "adapters and projector" in told[0]


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        (BinaryTask("referable", ("no", "yes")), {}, "use model=classifier"),
        (ODIR_8, {"grading": "generate"}, "grading=score"),
        (ODIR_8, {"labels_asked": 0}, "labels_asked=0"),
        (DR_GRADE, {"grading": "guess"}, "model.grading=guess"),
        (DR_GRADE, {"max_answer_tokens": 0}, "max_answer_tokens=0"),
    ],
)
def test_what_a_llava_cannot_do_is_refused_before_it_is_loaded(task: Task, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        grader(task, **options)
