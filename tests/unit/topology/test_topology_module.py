"""A classifier with topology: batches, flips, consistency, teachers, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from module_factory import Samples, fit, section
from module_factory import make_classifier as make_any_classifier

from retinai.data.loading.fields import FieldSample
from retinai.distillation.module import Distiller
from retinai.distillation.teacher import Teachers
from retinai.errors import CheckpointError, DataError
from retinai.modules.classifier import Classifier
from retinai.modules.description import describe_training
from retinai.modules.load import load_module
from retinai.modules.warm_start import load_start_weights
from retinai.topology.branch import topology_of
from retinai.topology.persistence import TopologySettings

TINY = section("backbone", "resnet18", architecture="test_resnet", weights="none", input_size=32)
TOPOLOGY = TopologySettings(size=32, resolution=8, hidden=(8,), width=4).to_dict()
BRANCH = "retinai.topology.branch.TopologyBranch"


class WithTopology(Samples):
    """Samples with persistence images, also under the key of a teacher's."""

    extra_key = ""

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        images = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(index)) * (1 + index % 5)
        sample |= {"topology": images, "view_0": sample["image"]}
        return sample | ({self.extra_key: images * 2} if self.extra_key else {})


@pytest.fixture(autouse=True)
def samples_with_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module_factory.Samples", WithTopology)


def make_classifier(topology: dict[str, Any] | None = TOPOLOGY, **changes: Any) -> Classifier:
    branches = {"topology": {"name": "none"} if topology is None else {"_target_": BRANCH, **topology}}
    return make_any_classifier(backbone=TINY, branches=branches, **changes)


def batch_of(n: int = 4) -> dict[str, Any]:
    return torch.utils.data.default_collate([WithTopology()[i] for i in range(n)])


def saved(module: Classifier, path: Path) -> Path:
    fit(module, 1, [ModelCheckpoint(path.parent, filename=path.stem)])
    return path


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_it_trains_is_saved_and_loads_with_its_images(tmp_path: Path, fusion: str) -> None:
    module = make_classifier({**TOPOLOGY, "fusion": fusion}, consistency={"name": "rotation"})
    path = saved(module, tmp_path / "best.ckpt")
    loaded = load_module(path)
    settings = topology_of(loaded)
    assert settings == topology_of(module) and settings is not None and settings.fusion == fusion
    batch = batch_of()
    expected = module.eval().predict_step(batch)["probability"]
    assert torch.equal(loaded.predict_step(batch)["probability"], expected)
    other = loaded.predict_step({**batch, "topology": batch["topology"].flip(0)})["probability"]
    assert not torch.allclose(other, expected)
    (field,) = loaded.photograph_fields()
    photograph = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    sample = FieldSample("a", "a.png", loaded.preprocessing, photograph=photograph)
    assert field.name == "topology" and field.load(sample).shape == (4, 8, 8) == field.shape


def test_flips_keep_the_photographs_own_images() -> None:
    module = make_classifier(test_time_flips=True).eval()
    batch = batch_of()
    images, topology = batch["image"], batch["topology"]
    views = [images, images.flip(3), images.flip(2), images.flip(2).flip(3)]
    with torch.no_grad():
        expected = sum(module(view, topology).softmax(1) for view in views) / 4
        torch.testing.assert_close(module.predict_step(batch)["probability"], expected)


def test_batches_without_images_are_told() -> None:
    batch = {k: v for k, v in batch_of().items() if k != "topology"}
    with pytest.raises(DataError, match="carry no 'topology'"):
        make_classifier().predict_step(batch)
    assert make_classifier(None).eval().predict_step(batch_of())["probability"].shape == (4, 5)  # needless, not read
    assert make_classifier(None).photograph_fields() == []


def test_checkpoints_of_another_topology_are_refused_in_words(tmp_path: Path) -> None:
    with_it = saved(make_classifier(), tmp_path / "with.ckpt")
    without = saved(make_classifier(None), tmp_path / "without.ckpt")
    gated = make_classifier({**TOPOLOGY, "fusion": "gated", "sigma": 3.0})
    cases = [
        (without, make_classifier(), "trained without topology"),
        (with_it, make_classifier(None), r"this run has none; set topology=cubical"),
        (with_it, gated, r"set topology\.sigma=4\.0 topology\.fusion=concat"),
    ]
    for path, module, told in cases:
        with pytest.raises(CheckpointError, match=told):
            load_start_weights(path, module)
        with pytest.raises(CheckpointError, match=told):  # as a resumed run does
            module.on_load_checkpoint(torch.load(path))
    notes = load_start_weights(with_it, make_classifier({**TOPOLOGY, "dropout": 0.5}))
    assert "start weights" in notes[0] and len(notes) == 1


def test_a_teacher_with_topology_teaches_a_student_without(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = make_classifier(seed=3)
    teachers = Teachers([teacher, make_classifier(seed=4)], ["a.ckpt", "b.ckpt"])
    view, extra = teachers.fields()  # both take the same images: computed once
    assert view.name == "view_0" and {view.splits, extra.splits} == {("train",)}
    monkeypatch.setattr(WithTopology, "extra_key", extra.name)
    batch = batch_of()
    own = {**batch, "topology": batch[extra.name]}
    expected = sum((m(*m.network_inputs(own)) / 2.0).softmax(1) for m in teachers.modules) / 2
    torch.testing.assert_close(teachers.probabilities(batch, 2.0), expected)
    values = {k: v for k, v in make_classifier(None).hparams.items() if k != "name"}
    student = Distiller(**values)
    student.set_teachers(teachers)
    assert topology_of(student) is None and "train/kd" in fit(student, 1).callback_metrics


def test_the_description_of_training_names_it() -> None:
    rows = dict(describe_training(make_classifier({**TOPOLOGY, "fusion": "gated"})))
    assert rows["topology"] == "cubical, green channel at 32 px, 4 images of 8 x 8, gated"
    assert "topology" not in dict(describe_training(make_classifier(None)))
