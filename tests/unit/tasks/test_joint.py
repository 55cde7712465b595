"""Two grades at once: the joint accuracy of IDRiD's challenge, each grade's own metrics, and the loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score
from small_network import SMALL_NETWORK
from torch.nn import functional

from retinai.errors import ConfigError, UserError
from retinai.losses.cross_entropy import CrossEntropy
from retinai.losses.joint import JointCrossEntropy
from retinai.tasks.joint import JointTask
from retinai.tasks.known import DME_RISK, DR_GRADE, GRADE_AND_DME
from retinai.tasks.task import Task


def test_it_is_every_pair_of_both_lists() -> None:
    assert GRADE_AND_DME.num_classes == 15 and GRADE_AND_DME.parts == (DR_GRADE.classes, DME_RISK.classes)
    assert GRADE_AND_DME.classes[3 * 3 + 2] == "severe/high"
    assert Task.from_dict(GRADE_AND_DME.to_dict()) == GRADE_AND_DME
    with pytest.raises(UserError, match="every pair"):
        JointTask("odd", ("a/x", "a/y", "b/x"))


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 200), rng.integers(0, 3, 200)
    probabilities = rng.dirichlet(np.ones(15), size=200)
    probabilities[np.arange(200), first * 3 + second] += 0.1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    decided = probabilities.argmax(axis=1)
    found = GRADE_AND_DME.metrics(first * 3 + second, decided, probabilities, np.ones((1, 200), dtype=np.float32))
    both_right = np.mean((decided // 3 == first) & (decided % 3 == second))  # as the challenge counts
    assert found["joint_accuracy"][0] == pytest.approx(both_right)
    assert found["first_accuracy"][0] == pytest.approx(accuracy_score(first, decided // 3))
    assert found["second_qwk"][0] == pytest.approx(cohen_kappa_score(second, decided % 3, weights="quadratic"))
    likely = probabilities.reshape(200, 5, 3).sum(axis=1)
    assert found["second_auroc"][0] == pytest.approx(roc_auc_score(second, likely, multi_class="ovr"))
    assert set(found) - {"per_class"} == set(GRADE_AND_DME.metric_labels) and len(found["per_class"]) == 15


def test_pairs_may_be_absent_but_no_grade() -> None:
    counts = np.zeros((5, 3), dtype=int)
    counts[:, 0] = 1
    assert GRADE_AND_DME.absent_classes(counts.ravel().tolist()) == ["low", "high"]
    counts[0] = 1
    assert GRADE_AND_DME.absent_classes(counts.ravel().tolist()) == []


def test_the_loss_is_the_sum_of_both_and_its_probabilities_their_product() -> None:
    loss = JointCrossEntropy(task=GRADE_AND_DME, class_counts=[1] * 15, second_weight=0.5)
    logits, pairs = torch.randn(6, 8), torch.tensor([0, 14, 7, 3, 11, 5])
    wanted = functional.cross_entropy(logits[:, :5], pairs // 3) + 0.5 * functional.cross_entropy(
        logits[:, 5:], pairs % 3
    )
    assert loss.num_outputs == 8 and torch.allclose(loss(logits, pairs), wanted)
    probabilities = loss.probabilities(logits)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(6))
    assert torch.equal(probabilities.argmax(dim=1) // 3, logits[:, :5].argmax(dim=1))
    assert torch.equal(probabilities.argmax(dim=1) % 3, logits[:, 5:].argmax(dim=1))
    with pytest.raises(ConfigError, match="losses for it: joint"):
        CrossEntropy(task=GRADE_AND_DME, class_counts=[1] * 15)


def test_idrid_is_trained_on_both_grades(synthetic_idrid: Path, tmp_path: Path, command: Callable[..., int]) -> None:
    words = [
        "data=idrid", f"data.root={synthetic_idrid}", "data.target=joint", "loss=joint", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1",
        "logger=none", f"run_dir={tmp_path / 'run'}", f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert metrics["joint_accuracy"]["value"] == pytest.approx((table["target"] == table["prediction"]).mean())
    assert metrics["task"]["kind"] == "joint" and set(metrics["confusion_matrix"]) == {"first", "second"}
    names = (synthetic_idrid / "B. Disease Grading" / "2. Groundtruths").glob("b.*.csv")
    owner = pd.read_csv(next(names)).rename(columns=str.strip)
    pairs = owner["Retinopathy grade"] * 3 + owner["Risk of macular edema"]
    assert sorted(table["target"]) == sorted(pairs)
    assert "Of 100 photographs" in (tmp_path / "run" / "report.html").read_text()
