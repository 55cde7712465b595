"""A number per photograph from a table: trained, reported, evaluated, predicted, and what refuses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from small_network import SMALL_NETWORK

Command = Callable[..., int]
TINY = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none", "data.num_workers=0"]


@pytest.fixture(scope="module")
def data(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words for a drawn cohort of two photographs per person, with an age that goes with the grade."""
    folder = tmp_path_factory.mktemp("cohort")
    labels = pd.read_csv(synthetic_aptos / "train.csv", dtype=str)
    age = 40 + 10 * labels["diagnosis"].astype(int) + np.arange(len(labels)) % 7 + 0.25
    table = pd.DataFrame({
        "image": labels["id_code"] + ".png", "person": [f"s{i // 2}" for i in range(len(labels))], "age": age,
        "months": 12 * age, "eye": ["left", "right"] * (len(labels) // 2) + ["left"] * (len(labels) % 2),
    })  # fmt: skip
    table.to_csv(folder / "ages.csv", index=False)
    columns = {"path": "image", "patient": "person", "target": "age"}
    return [
        "data=table", f"data.file={folder / 'ages.csv'}", f"data.root={synthetic_aptos / 'train_images'}",
        *(f"data.columns.{key}={column}" for key, column in columns.items()), "data.kind=number",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def places(data: list[str]) -> list[str]:
    """Where everything goes."""
    folder = Path(data[1].partition("=")[2]).parent
    return [f"paths.outputs={folder}", f"paths.cache={folder / 'cache'}"]


@pytest.fixture(scope="module")
def run(data: list[str], places: list[str], command: Command) -> Path:
    """A run that learned the age."""
    folder = Path(places[0].partition("=")[2]) / "run"
    words = [*data, *TINY, "loss=number", "trainer.max_epochs=2", "optimizer.lr=1e-3", f"run_dir={folder}", *places]
    assert command("train", *words) == 0
    return folder


def test_training_leaves_metrics_with_intervals_and_figures(run: Path) -> None:
    metrics, record = (json.loads((run / name).read_text()) for name in ("metrics.json", "run.json"))
    assert metrics["task"] == {"name": "table", "kind": "number", "classes": ["age"], "referable_from": None}
    assert (record["monitor"], record["mode"]) == ("val/mae", "min") and "calibration" not in metrics
    table = pd.read_csv(run / "predictions.csv")
    assert list(table) == ["id", "path", "target", "prediction", "patient"]
    off = table["prediction"] - table["target"]
    expected = {
        "mae": sk.mean_absolute_error(table["target"], table["prediction"]),
        "r2": sk.r2_score(table["target"], table["prediction"]),
        "bias": off.mean(),
        "agreement_low": off.mean() - 1.96 * off.std(ddof=1),
        "agreement_high": off.mean() + 1.96 * off.std(ddof=1),
    }
    assert {key: metrics[key]["value"] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert all(metrics[key]["low"] < metrics[key]["high"] for key in expected)
    # In the unit of the target: an untrained head says the mean of the training part.
    assert table["prediction"].between(40, 90).all()
    assert {file.stem for file in (run / "figures").iterdir()} >= {"agreement", "scatter", "learning_curves"}
    page = (run / "report.html").read_text()
    assert "Bland-Altman" in page and "Predicted against true" in page and "Per class" not in page
    best = pd.read_csv(run / "metrics.csv")["val/mae"].min()
    assert record["best_score"] == pytest.approx(best, rel=1e-5)


def test_a_column_that_tells_the_number_is_noted(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "column months tells the target of every photograph by itself (rank correlation 1.0)" in page


def test_evaluation_by_photograph_and_by_person(
    run: Path, tmp_path: Path, places: list[str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "num_workers=0", "level=patient", *places]
    assert command("evaluate", *words, f"run_dir={tmp_path / 'max'}") == 2
    assert "use pooling=mean" in capsys.readouterr().err and not (tmp_path / "max").exists()
    assert command("evaluate", *words, "pooling=mean", f"run_dir={tmp_path / 'again'}") == 0
    first, again = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "again"))
    assert again["mae"] == first["mae"]
    rows = pd.read_csv(run / "predictions.csv").groupby("patient")[["target", "prediction"]].mean()
    expected = sk.mean_absolute_error(rows["target"], rows["prediction"])
    assert again["per_patient"]["mae"]["value"] == pytest.approx(expected, rel=1e-5)
    assert command("report", str(run), str(tmp_path / "again"), f"out={tmp_path / 'side'}", *places) == 0
    assert "mean absolute error" in (tmp_path / "side" / "report.md").read_text()


def test_loose_files_get_a_number_each(run: Path, synthetic_aptos: Path, tmp_path: Path, command: Command) -> None:
    photographs = sorted((synthetic_aptos / "train_images").glob("*.png"))[:2]
    (tmp_path / "in").mkdir()
    for file in photographs:
        (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "in" / "broken.png").write_bytes(b"no photograph")
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"images={tmp_path / 'in'}", f"out={tmp_path / 'out.csv'}"]
    assert command("predict", *words, "num_workers=0") == 0
    table = pd.read_csv(tmp_path / "out.csv").set_index("id")
    assert list(table) == ["path", "prediction", "error"]
    assert table["prediction"].drop("broken").between(40, 90).all() and np.isnan(table["prediction"]["broken"])


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("export", ["out={out}", "format=onnx"], "exported folders hold class probabilities"),
        ("explain", ["run_dir={out}"], "draws maps of classes"),
        ("stress", ["run_dir={out}"], "counts changed decisions"),
        ("benchmark", ["run_dir={out}"], "measures grades and labels"),
        ("predict", ["out={out}.csv", "images={figures}", "format=kaggle"], "gives a photograph a number"),
    ],
)
def test_what_is_about_classes_refuses_it(
    run: Path, name: str, words: list[str], told: str, tmp_path: Path, places: list[str], command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [word.format(out=tmp_path / "out", figures=run / "figures") for word in words] + (
        places if name != "predict" else []
    )
    assert command(name, f"ckpt={run / 'checkpoints' / 'best.ckpt'}", *given) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "loss=cross_entropy does not suit task 'table'"),
        (["loss=regression"], "losses for it: number"),
        (["loss=number", "loss.loss=huber"], "valid: smooth_l1, mse, l1"),
        (["loss=number", "model=vae"], "a VAE learns classes"),
        (["loss=number", "consistency=rotation"], "is about classes"),
        (["loss=number", "sampler=weighted"], "sampler=weighted evens out classes"),
    ],
)
def test_training_refuses_what_does_not_suit_a_number(
    data: list[str], places: list[str], words: list[str], told: str, tmp_path: Path, command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = [*data, *TINY, *words, f"run_dir={tmp_path / 'run'}", *places]
    assert command("train", *asked) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()
