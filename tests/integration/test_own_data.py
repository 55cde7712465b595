"""A cohort of one's own, from a CSV or from folders, runs end to end in one command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from small_network import SMALL_NETWORK

Command = Callable[..., int]
TINY = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none",
        "data.num_workers=0", "trainer.max_epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def labels(synthetic_aptos: Path) -> pd.DataFrame:
    """The labels of a drawn cohort."""
    return pd.read_csv(synthetic_aptos / "train.csv", dtype=str)


def test_a_binary_outcome_with_several_photographs_per_person(
    labels: pd.DataFrame, synthetic_aptos: Path, tmp_path: Path, command: Command
) -> None:
    table = pd.DataFrame({
        "image": labels["id_code"] + ".png", "subject": [f"s{i // 2}" for i in range(len(labels))],
        "event": (labels["diagnosis"].astype(int) >= 2).astype(int), "age": range(len(labels)),
    })  # fmt: skip
    table.to_csv(tmp_path / "cohort.csv", index=False)
    columns = ["data.columns.path=image", "data.columns.patient=subject", "data.columns.target=event"]
    data = [
        "data=table",
        f"data.file={tmp_path / 'cohort.csv'}",
        f"data.root={synthetic_aptos / 'train_images'}",
        *columns,
    ]
    places = [f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    run = tmp_path / "run"
    assert command("train", *data, "data.prevalence=0.05", *TINY, f"run_dir={run}", *places) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"auroc", "auprc", "sensitivity", "specificity", "ppv_at_prevalence"} <= set(metrics)
    assert metrics["task"] == {"name": "table", "kind": "binary", "classes": ["no", "yes"], "referable_from": None,
                               "prevalence": 0.05}  # fmt: skip
    split = pd.read_csv(run / "split.csv", dtype=str)
    person = dict(zip(labels["id_code"], table["subject"], strict=True))
    assert split.assign(person=split["id"].map(person)).groupby("person")["split"].nunique().max() == 1
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"run_dir={tmp_path / 'again'}", "num_workers=0", *places]
    assert command("evaluate", *words, "level=patient", "pooling=noisy_or") == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["auroc"] == metrics["auroc"]
    # By persons too: one has the event where any photograph shows it, and 1 - prod(1 - p).
    by_person = pd.read_csv(run / "predictions.csv").assign(person=lambda rows: rows["id"].map(person))
    pooled = by_person.groupby("person").agg(event=("target", "max"), p=("p_yes", lambda p: 1 - (1 - p).prod()))
    found = again["per_patient"]
    assert (found["n"], found["pooling"]) == (len(pooled), "noisy_or")
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(pooled["event"], pooled["p"]))
    # Embeddings and probes of the same table: its other columns are targets too.
    embedded = [
        *data,
        f"out={tmp_path / 'e.npz'}",
        f"ckpt={run / 'checkpoints' / 'best.ckpt'}",
        "num_workers=0",
        *places,
    ]
    assert command("embed", *embedded) == 0
    probe = [*data, f"embeddings={tmp_path / 'e.npz'}", "target=age", f"run_dir={tmp_path / 'probe'}", *places]
    assert command("probe", *probe) == 0
    assert {"mae", "r2", "agreement_low"} <= set(json.loads((tmp_path / "probe" / "metrics.json").read_text()))
    assert "Bland-Altman" in (tmp_path / "probe" / "report.html").read_text()


def test_folders_of_classes(labels: pd.DataFrame, synthetic_aptos: Path, tmp_path: Path, command: Command) -> None:
    for number, (name, grade) in enumerate(zip(labels["id_code"], labels["diagnosis"], strict=True)):
        place = tmp_path / "own" / ("train", "val", "test")[number % 3] / ("healthy" if grade == "0" else "sick")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(synthetic_aptos / "train_images" / f"{name}.png", place)
    words = ["data=folder", f"data.root={tmp_path / 'own'}", *TINY, f"run_dir={tmp_path / 'run'}"]
    assert command("train", *words, f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}") == 0
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert predictions["id"].str.startswith("test/").all() and "p_sick" in predictions
