"""A student under teachers: its loss, what does not change, what is not saved, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from module_factory import Samples, fit, section
from module_factory import make_classifier as make_any_classifier
from torch.nn import functional

from retinai.distillation.module import Distiller
from retinai.distillation.teacher import Teachers, load_teachers
from retinai.errors import CheckpointError, ConfigError
from retinai.modules.classifier import Classifier
from retinai.modules.load import load_module
from retinai.modules.warm_start import load_start_weights
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_COURSE
from retinai.tasks.task import Task

# A network of a third of a million weights, so that the many checkpoints here are small.
TINY = section("backbone", "resnet18", architecture="test_resnet", weights="none", input_size=32)


def make_classifier(task: Task = DR_GRADE, **changes: Any) -> Classifier:
    return make_any_classifier(task, backbone=TINY, **changes)


def make_distiller(task: Task = DR_GRADE, **changes: Any) -> Distiller:
    own = {k: changes.pop(k) for k in list(changes) if k in ("teacher", "temperature", "alpha_start", "alpha_end")}
    return Distiller(**dict(make_classifier(task, **changes).hparams) | {"name": "distiller"} | own)


def make_teachers(*modules: Classifier) -> Teachers:
    return Teachers(modules, [f"teacher_{i}.ckpt" for i in range(len(modules))])


class Views(Samples):
    """Samples that carry one view for a teacher, of another size and normalisation."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        view = functional.interpolate(sample["image"][None], size=48, mode="bilinear")[0] * 2
        return sample | {"view_0": view}


@pytest.fixture(autouse=True)
def samples_with_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module_factory.Samples", Views)


def saved(module: Classifier, path: Path) -> Path:
    fit(module, 1, [ModelCheckpoint(path.parent, filename=path.stem)])
    return path


@pytest.mark.parametrize("task", [DR_GRADE, ODIR_COURSE], ids=lambda t: t.kind)
def test_the_teacher_does_not_change_and_is_not_saved(tmp_path: Path, task: Task) -> None:
    teacher = make_classifier(task, seed=7)
    before = copy.deepcopy(teacher.state_dict())
    student = make_distiller(task, alpha_start=0.5, alpha_end=1.0)
    student.set_teachers(make_teachers(teacher))
    plain = {k: v.clone() for k, v in student.state_dict().items()}
    averaging = EMAWeightAveraging(decay=0.5)
    trainer = fit(student, 2, [ModelCheckpoint(tmp_path, filename="student"), averaging])

    after = teacher.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)  # weights and batch norm's statistics
    assert not teacher.training and not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert averaging._average_model is not None
    assert averaging._average_model.module.teachers is student.teachers  # not copied either
    student.train()
    assert not teacher.training
    assert student.state_dict().keys() == plain.keys() == make_classifier(task).state_dict().keys()
    assert any(not torch.equal(plain[k], student.state_dict()[k]) for k in plain)
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not optimised & {id(p) for p in teacher.parameters()}
    file = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert set(file["state_dict"]) == set(plain)
    assert [r["path"] for r in file["retinai"]["teachers"]] == ["teacher_0.ckpt"]

    loaded = load_module(tmp_path / "student.ckpt", task)
    assert isinstance(loaded, Distiller) and loaded.teachers is None and loaded.model_name == "distiller"
    batch = {"image": torch.randn(2, 3, 32, 32), "id": ["a", "b"]}
    rows = loaded.predict_step(batch)["probability"]
    reference = make_classifier(task).eval()
    reference.load_state_dict(file["state_dict"])
    assert torch.equal(rows, reference.predict_step(batch)["probability"])


def test_the_loss_is_alpha_kd_and_the_rest_ce_with_alpha_by_the_epoch() -> None:
    loss = section("loss", "effective_number", label_smoothing=0.1)
    teacher = make_classifier(seed=7)
    with torch.no_grad():
        teacher.network.head.weight.mul_(100)
    student = make_distiller(loss=loss, temperature=4.0)
    student.set_teachers(make_teachers(teacher))
    told: dict[str, list[float]] = {}
    student.log = lambda name, value, **_: told.setdefault(name, []).append(float(torch.as_tensor(value).detach()))  # type: ignore[method-assign]
    batch = {"image": torch.randn(4, 3, 32, 32), "target": torch.tensor([0, 1, 2, 4]), "id": list("abcd"),
             "view_0": torch.randn(4, 3, 48, 48)}  # fmt: skip

    class FakeClock:
        max_epochs, current_epoch = 5, 0

    student._trainer = FakeClock()  # type: ignore[assignment]
    student.eval()  # no dropout, so that logits can be had twice
    for FakeClock.current_epoch in range(5):
        total = student.training_step(batch, 0)
        with torch.no_grad():
            logits, soft = student(batch["image"]), (teacher(batch["view_0"]) / 4).softmax(1)
        kd = 16 * functional.kl_div((logits / 4).log_softmax(1), soft, reduction="batchmean")
        weights = student.criterion.class_weights
        ce = functional.cross_entropy(logits, batch["target"], weight=weights, label_smoothing=0.1)
        alpha = [0.2, 0.35, 0.5, 0.65, 0.8][FakeClock.current_epoch]
        torch.testing.assert_close(total.detach(), alpha * kd + (1 - alpha) * ce)
        assert told["train/kd"][-1] == pytest.approx(float(kd), rel=1e-5)
        assert told["train/ce"][-1] == pytest.approx(float(ce), rel=1e-5)
    assert told["train/alpha"] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])


def test_several_teachers_teach_by_the_mean_of_their_softened_probabilities() -> None:
    first, second = make_classifier(seed=1), make_classifier(seed=2, loss=section("loss", "corn"))
    other_size = {"input_size": 48, "mean": [0.0] * 3, "std": [1.0] * 3}
    second.preprocessing = type(second.preprocessing).from_dict(other_size)
    teachers = make_teachers(first, second)
    assert [view.input_size for view in teachers.views] == [32, 48]
    batch = {"view_0": torch.randn(3, 3, 32, 32), "view_1": torch.randn(3, 3, 48, 48)}
    with torch.no_grad():
        softmax = (first(batch["view_0"]) / 2).softmax(1)
        roots = second.criterion.probabilities(second(batch["view_1"])) ** 0.5  # T = 2 takes the square root
    expected = (softmax + roots / roots.sum(1, keepdim=True)) / 2
    torch.testing.assert_close(teachers.probabilities(batch, 2.0), expected)


def test_a_resumed_student_equals_one_in_one_piece(tmp_path: Path) -> None:
    teacher = saved(make_classifier(seed=7), tmp_path / "teacher.ckpt")

    def make() -> Distiller:
        rotation = {"name": "rotation", "weight": 0.5, "degrees": 180.0}
        student = make_distiller(teacher={"ckpt": str(teacher)}, consistency=rotation)
        student.set_teachers()
        return student

    whole, resumed = make(), make()
    fit(whole, 3, [ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)])
    fit(resumed, 3, resume=tmp_path / "epoch=0.ckpt")
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())

    other = make()
    other.set_teachers(make_teachers(make_classifier(seed=8)))
    with pytest.raises(CheckpointError, match="same teachers"):
        fit(other, 3, resume=tmp_path / "epoch=0.ckpt")


def test_a_student_may_start_from_a_classifiers_weights(tmp_path: Path) -> None:
    source = make_classifier(seed=3)
    file = saved(source, tmp_path / "start.ckpt")
    student = make_distiller(seed=4)
    load_start_weights(file, student)
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in source.state_dict().items())


def test_what_cannot_teach_or_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a teacher.*teacher\.ckpt="):
        make_distiller().set_teachers()
    with pytest.raises(CheckpointError, match="does not exist"):
        load_teachers([tmp_path / "gone.ckpt"])
    with pytest.raises(CheckpointError, match=r"task dme_risk .*task dr_grade"):
        make_distiller().set_teachers(make_teachers(make_classifier(DME_RISK)))
    turned = Task.from_dict(DR_GRADE.to_dict() | {"classes": list(reversed(DR_GRADE.classes))})
    with pytest.raises(CheckpointError, match="proliferative, severe"):
        make_distiller().set_teachers(make_teachers(make_classifier(turned)))
    for loss in ("corn", "coral", "regression"):
        with pytest.raises(ConfigError, match="no class logits"):
            make_distiller(loss=section("loss", loss))
    with pytest.raises(ConfigError) as caught:
        make_distiller(temperature=0.0, alpha_start=-0.1, alpha_end=1.2)
    assert len(caught.value.problems) == 3
    for temperature in (float("inf"), float("nan"), 1e30, 1e-30):
        with pytest.raises(ConfigError, match="out of range"):
            make_distiller(temperature=temperature)
