"""Training, validation, prediction, resume, weight averaging of the classifier."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from module_factory import fit, make_classifier, make_loader, section
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

from retinai.errors import ConfigError
from retinai.metrics.decisions import decide
from retinai.modules.description import describe_training
from retinai.modules.load import load_module
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_COURSE

PACKAGE = section("backbone", "efficientnet_lite0", input_size=32)


@pytest.mark.parametrize("task", [DR_GRADE, ODIR_COURSE], ids=lambda t: t.kind)
def test_fit_logs_the_named_metrics_and_predicts(task: Any) -> None:
    module = make_classifier(task)
    names = set(fit(module, 1).callback_metrics)
    wanted = {"train/loss", "val/loss", "val/macro_f1", "val/auroc", "val/accuracy"}
    assert names >= wanted | ({"val/qwk"} if task.kind == "grade" else set())
    out = module.eval().predict_step(next(iter(make_loader(task))))
    assert out["id"][:2] == ["s0", "s1"] and out["probability"].shape == (8, task.num_classes)
    assert out["probability"].dtype == torch.float32


@pytest.mark.parametrize(("tuning", "averaging"), [("full", False), ("partial", True)])
def test_a_resumed_run_equals_one_in_one_piece(tmp_path: Any, tuning: str, averaging: bool) -> None:
    def make() -> Any:
        return make_classifier(
            backbone=PACKAGE, attention=section("attention", "cbam"), tuning=section("tuning", tuning),
            loss=section("loss", "regression"),
        )  # fmt: skip

    def extra() -> list[Any]:
        return [EMAWeightAveraging(decay=0.8)] if averaging else []

    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole = make()
    fit(whole, 2, [saver, *extra()])
    resumed = make()
    fit(resumed, 2, extra(), resume=tmp_path / "epoch=0.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    batch = next(iter(make_loader()))
    loaded = load_module(tmp_path / "epoch=1.ckpt", DR_GRADE)
    if not averaging:  # the averaged cut-offs of the end differ from the checkpoint's fitted ones
        assert torch.equal(loaded.predict_step(batch)["probability"], whole.eval().predict_step(batch)["probability"])


def test_cutoffs_in_an_averaged_checkpoint_are_the_fitted_ones(tmp_path: Any) -> None:
    saver = ModelCheckpoint(tmp_path, filename="best", monitor="val/qwk", mode="max")
    module = make_classifier(loss=section("loss", "regression"))
    trainer = fit(module, 1, [saver, EMAWeightAveraging(decay=0.8)])
    loaded = load_module(tmp_path / "best.ckpt")
    with torch.no_grad():
        batches = [(loaded.predict_step(b)["probability"], b["target"]) for b in make_loader()]
    decisions = decide(torch.cat([p for p, _ in batches]), "median")
    kappa = cohen_kappa_score(torch.cat([t for _, t in batches]), decisions, weights="quadratic")
    assert float(trainer.callback_metrics["val/qwk"]) == pytest.approx(kappa, abs=1e-5)


@pytest.mark.parametrize(
    ("tuning", "changes"), [("head", {}), ("partial", {"blocks": 2}), ("full", {"freeze_norm": True})]
)
def test_frozen_parts_do_not_move(tuning: str, changes: Any) -> None:
    module = make_classifier(backbone=PACKAGE, tuning=section("tuning", tuning, **changes))
    before = copy.deepcopy(module.state_dict())
    fit(module, 1)
    after = module.state_dict()
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    assert "network.head.weight" in moved and not moved & module.frozen_keys
    if tuning == "full":
        assert not {k for k in moved if "running" in k or ".bn" in k}
        assert "network.encoder.net.conv_stem.weight" in moved
    elif tuning == "partial":
        assert "network.encoder.net.blocks.6.0.conv_pw.weight" in moved
        assert "network.encoder.net.blocks.6.0.bn1.running_mean" in moved
    else:
        assert moved == {"network.head.weight", "network.head.bias"}
    module.train()
    norms = [m for m in module.network.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert module.network.training and any(m.training for m in norms) == (tuning == "partial")


def test_test_time_flips_are_the_mean_of_four_views() -> None:
    module = make_classifier(test_time_flips=True).eval()
    images = next(iter(make_loader()))["image"]
    with torch.no_grad():
        views = [images, images.flip(3), images.flip(2), images.flip(2).flip(3)]
        expected = sum(module(view).softmax(1) for view in views) / 4
        torch.testing.assert_close(module.predict_probabilities(images), expected)
        torch.testing.assert_close(module.predict_probabilities(images.flip(3)), expected)


def test_the_seed_decides_the_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (make_classifier(seed=s).state_dict() for s in (4, 4, 5))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["network.head.weight"], other["network.head.weight"])


def test_metrics_are_scikit_learns_and_calm_about_an_absent_class() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(60, 5, generator=generator).softmax(1)
    targets = torch.randint(0, 4, (60,), generator=generator)  # grade 4 is absent
    metrics = DR_GRADE.validation_metrics("argmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.update(probabilities, targets)
        values = {k: float(v) for k, v in metrics.compute().items()}
    predicted = probabilities.argmax(1)
    assert values["qwk"] == pytest.approx(cohen_kappa_score(targets, predicted, weights="quadratic"), abs=1e-5)
    assert values["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"), abs=1e-5)
    aurocs = [roc_auc_score(targets == c, probabilities[:, c]) for c in range(4)]
    assert values["auroc"] == pytest.approx(sum(aurocs) / 4, abs=1e-5)


def test_metrics_of_one_grade_only_are_numbers() -> None:
    metrics = DME_RISK.validation_metrics("argmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.update(torch.tensor([[1.0, 0, 0]] * 4), torch.zeros(4, dtype=torch.long))
        assert all(torch.isfinite(v) for v in metrics.compute().values())


def test_description_of_training() -> None:
    module = make_classifier(tuning=section("tuning", "head"), loss=section("loss", "class_balanced"))
    rows = dict(describe_training(module))
    assert rows["parameters"].startswith("2,565 parameters train")
    assert rows["class counts"].startswith("no_dr 5") and len(rows["class weights"].split(",")) == 5
    assert rows["monitored metric"].startswith("val/qwk")


def test_unknown_keys_and_losses_of_the_other_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'droprate', did you mean 'drop_rate'"):
        make_classifier(backbone=section("backbone", "resnet18", weights="none", droprate=1))
    with pytest.raises(ConfigError, match="bce"):
        make_classifier(ODIR_COURSE, loss=section("loss", "corn"))
