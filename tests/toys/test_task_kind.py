"""A kind of task of one's own: yes or no. Class, source and datamodule stand here; the package knows none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torchmetrics
from small_network import SMALL_NETWORK

from retinai.data.datamodule import SourceDataModule
from retinai.data.sources.aptos import AptosSource
from retinai.metrics.bootstrap import divide
from retinai.metrics.calibration_error import calibration_error
from retinai.metrics.grade import class_rates, confusion_matrices
from retinai.metrics.mistakes import Mistakes, grade_mistakes
from retinai.metrics.ranking import ranking_areas
from retinai.metrics.validation import ClassValidation, ValidationMetrics
from retinai.tasks.parts import DecidedPart, Sentence
from retinai.tasks.task import Task


@dataclass(frozen=True)
class YesOrNoTask(Task):
    """One question per photograph. A target is 0 (no) or 1 (yes)."""

    kind = "yes_or_no"
    target_types = ("index",)
    distribution = "categorical"
    batch_dtype = "int64"
    scalings: ClassVar[Mapping[str, str]] = {"argmax": "softmax"}
    main_metric = "auroc"
    metric_labels: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity", "accuracy": "accuracy",
    }  # fmt: skip
    sentences = (Sentence("sensitivity", "Of 100 with the answer yes it finds {}.", per_hundred=True),)
    answer = "yes or no"
    confidence_name = "likelier answer's probability"

    def is_target(self, value: object) -> bool:
        return value in (0, 1) and isinstance(value, int)

    def target_shape(self, count: int) -> tuple[int, ...]:
        return (count,)

    def target_array(self, values: Sequence[Any]) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    def indicator(self, values: Any) -> np.ndarray:
        return np.array([[value == k for k in (0, 1)] for value in values], dtype=bool).reshape(-1, 2)

    def csv_labels(self, labels: np.ndarray) -> list[str]:
        return ["yes" if label else "no" for label in labels]

    def read_csv_labels(self, column: pd.Series) -> np.ndarray:
        return (column == "yes").to_numpy(np.int64)

    def example_rows(self, values: Sequence[Any]) -> list[int]:
        return [0]

    def metrics(self, targets: Any, decisions: Any, probabilities: Any, weights: Any) -> dict[str, Any]:
        confusion = confusion_matrices(targets, decisions, 2, weights)
        rates = class_rates(confusion)
        per_class = {
            name: {key: rates[key][:, c] for key in ("precision", "recall", "f1")}
            for c, name in enumerate(self.classes)
        }
        return {
            "accuracy": divide(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2))),
            "sensitivity": rates["recall"][:, 1],
            "specificity": rates["recall"][:, 0],
            "auroc": ranking_areas(probabilities[:, 1], targets == 1, weights)[0],
            "per_class": per_class,
        }

    def validation_metrics(self, rule: str) -> ValidationMetrics:
        return ClassValidation({"accuracy": torchmetrics.Accuracy(task="binary")}, 2, rule)

    def calibration_error(self, probabilities: Any, targets: Any, weights: Any) -> np.ndarray:
        return calibration_error(*self.confidence_and_correctness(probabilities, targets), weights)

    def confidence_and_correctness(self, probabilities: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets

    def decided_parts(self, targets: Any, decisions: Any) -> list[DecidedPart]:
        return [DecidedPart("", self.classes, targets, decisions)]

    def mistakes(self, targets: Any, decisions: Any, probabilities: Any) -> Mistakes:
        return grade_mistakes(targets, decisions, probabilities)

    def truth_probability(self, probabilities: Any, targets: Any) -> np.ndarray:
        return probabilities[np.arange(len(targets)), targets]


class ReferableSource(AptosSource):
    """APTOS with the question whether an eye is referred (moderate retinopathy or worse)."""

    task = YesOrNoTask("referable", ("stays", "referred"))

    def read_table(self) -> pd.DataFrame:
        graded = AptosSource(self.name, self.given_root, self.cache_dir)
        table = graded.read_table()
        self.label_file = graded.label_file
        answers = [None if grade is None else int(grade >= 2) for grade in table["target"]]
        return table.assign(target=pd.Series(answers, index=table.index, dtype=object))


class ReferableDataModule(SourceDataModule):
    """`ReferableSource` as a datamodule."""

    source_class = ReferableSource


@pytest.fixture(scope="module")
def run(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable[..., int]) -> Path:
    """A run of the task."""
    folder = tmp_path_factory.mktemp("binary")
    words = [
        "data=aptos", f"data._target_={__name__}.ReferableDataModule", "data.name=referable",
        f"data.root={synthetic_aptos}", "data.num_workers=0", *SMALL_NETWORK,
        "backbone.input_size=32", "loss=class_balanced", "trainer=cpu", "trainer.max_epochs=2", "logger=none",
        f"run_dir={folder / 'run'}", f"paths.outputs={folder}", f"paths.cache={folder / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    return folder / "run"


def test_a_kind_of_ones_own_is_trained_calibrated_and_reported(run: Path) -> None:
    metrics, record = (json.loads((run / name).read_text()) for name in ("metrics.json", "run.json"))
    assert metrics["task"] == YesOrNoTask("referable", ("stays", "referred")).to_dict()
    assert record["monitor"] == "val/auroc" and 0 <= metrics["sensitivity"]["value"] <= 1
    assert set(pd.read_csv(run / "predictions.csv")["target"]) == {"yes", "no"}
    page = (run / "report.html").read_text()
    assert "Of 100 with the answer yes it finds" in page and "specificity" in page


def test_its_checkpoint_is_evaluated_and_its_runs_are_compared(
    run: Path, tmp_path: Path, command: Callable[..., int]
) -> None:
    places = [f"paths.outputs={tmp_path}", f"paths.cache={run.parent / 'cache'}"]
    out = tmp_path / "evaluation"
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "split=test", f"run_dir={out}", "num_workers=0"]
    assert command("evaluate", *words, *places) == 0
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (run, out))
    assert first["auroc"] == second["auroc"]
    assert command("report", str(run), str(out), f"out={tmp_path / 'report'}", *places) == 0
    assert "| sensitivity | specificity |" in (tmp_path / "report" / "report.md").read_text()


def test_a_loss_for_ordered_grades_is_refused(
    run: Path, synthetic_aptos: Path, tmp_path: Path, command: Callable[..., int], capsys: Any
) -> None:
    words = [
        "data=aptos", f"data._target_={__name__}.ReferableDataModule", f"data.root={synthetic_aptos}", "loss=corn",
        "data.num_workers=0", *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu",
        f"run_dir={tmp_path / 'run'}", f"paths.outputs={tmp_path}", f"paths.cache={run.parent / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 2
    said = capsys.readouterr().err
    assert "loss=corn does not suit task 'referable'" in said and "cross_entropy" in said and "coral" not in said
    assert not (tmp_path / "run").exists()
