"""Photographs outside what a network saw: from the training to evaluate, predict, the exported folder and the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score
from small_network import SMALL_NETWORK

from retinai.data.photographs.normalise import normalise
from retinai.modules.checkpoint import store_metadata
from retinai.modules.load import load_module
from retinai.prediction.outside import OUTSIDE
from retinai.prediction.reading import read_one
from retinai.runtime import ExportedModel

Command = Callable[..., int]


@pytest.fixture(scope="module")
def run(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A training with 20 or more photographs for training and for validation, graded with flips."""
    folder = tmp_path_factory.mktemp("described") / "run"
    words = ["data=aptos", f"data.root={synthetic_aptos}", "data.val_fraction=0.4", "data.num_workers=0",
             *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
             "model.test_time_flips=true", f"run_dir={folder}", f"paths.cache={folder.parent / 'cache'}"]  # fmt: skip
    assert command("train", *words) == 0
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, command: Command) -> Path:
    """Its folder for ONNX Runtime."""
    out = run.parent / "folder"
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"paths.cache={run.parent / 'cache'}", "num_workers=0"]
    assert command("export", *words, f"out={out}") == 0
    return out


@pytest.fixture(scope="module")
def strange(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of the test, and the same in false colours with stripes over them."""
    folder = tmp_path_factory.mktemp("strange")
    for path in pd.read_csv(run / "predictions.csv")["path"][:2]:
        shutil.copy(path, folder / f"known_{Path(path).name}")
        picture = cv2.imread(path)
        inside = picture.max(axis=2, keepdims=True) > 20
        stripes = (np.indices(picture.shape[:2]).sum(axis=0) // 6 % 2)[..., None] * 255
        changed = np.where(inside, np.concatenate([stripes, 255 - stripes, stripes], axis=2), picture)
        cv2.imwrite(str(folder / f"strange_{Path(path).stem}.png"), changed.astype(np.uint8))
    return folder


def distances_by_hand(run: Path, paths: list[str]) -> np.ndarray:
    """Features by the network's own parts, distances by the covariance written out."""
    module = load_module(run / "checkpoints" / "best.ckpt").eval()
    known = module.outside
    pixels = np.stack([read_one(module.preprocessing, [], (0, path)).pixels for path in paths])
    images = torch.from_numpy(normalise(pixels, module.preprocessing))
    with torch.no_grad():
        features = module.network.encoder(images).double().numpy()
    covariance = known.noise * np.eye(features.shape[1])
    for direction, variance in zip(known.components.astype(float), known.variances, strict=True):
        covariance += (variance - known.noise) * np.outer(direction, direction)
    return np.array([mahalanobis(row, known.mean, np.linalg.inv(covariance)) for row in features]) / known.limit


def test_the_column_is_the_distance_of_the_features_that_are_graded_from(run: Path) -> None:
    table = pd.read_csv(run / "predictions.csv")
    np.testing.assert_allclose(table["distance"], distances_by_hand(run, table["path"].tolist()), rtol=1e-3)
    told = json.loads((run / "metrics.json").read_text())[OUTSIDE]
    assert told["share"]["value"] == pytest.approx((table["distance"] > 1).mean())
    validated = load_module(run / "checkpoints" / "best.ckpt").outside.validated
    truth = np.repeat([1, 0], [len(table), len(validated)])
    found = roc_auc_score(truth, np.concatenate([table["distance"], validated]))
    assert told["auroc_from_validation"]["value"] == pytest.approx(found, abs=1e-6)
    assert "Outside what the network saw" in (run / "report.html").read_text()


def test_other_photographs_are_told_from_those_of_the_training_everywhere(
    run: Path, exported: Path, strange: Path, command: Command, tmp_path: Path
) -> None:
    tables = []
    ckpt = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "accelerator=cpu"]
    for name, words in (("a", ckpt), ("b", [f"model={exported}"])):
        out = tmp_path / f"{name}.csv"
        assert command("predict", *words, f"images={strange}", f"out={out}", "num_workers=0") == 0
        tables.append(pd.read_csv(out).set_index("id"))
    np.testing.assert_allclose(tables[0]["distance"], tables[1]["distance"], rtol=1e-3)
    for table in tables:
        odd = table.index.str.startswith("strange")
        assert table.loc[odd, "distance"].min() > max(1, 2 * table.loc[~odd, "distance"].max())
        assert (table.loc[odd, "outside"] == "outside what the network saw in its training").all()
    facts = ExportedModel(exported).folder.outside
    assert facts is not None and facts["false_alarms"] == 0.05 and facts["n"] >= 20
    assert "Outside what the network saw" in (exported / "card.md").read_text()


def test_the_page_is_unsure_about_them(run: Path, strange: Path, command: Command, tmp_path: Path) -> None:
    ckpt = Path(shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "a.ckpt"))
    kept = torch.load(ckpt, weights_only=True)["retinai"][OUTSIDE]
    store_metadata(ckpt, OUTSIDE, {**kept, "limit": kept["limit"] / 1000})  # so that everything lies outside
    place = [f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    assert command("export", f"ckpt={ckpt}", *place, f"out={tmp_path / 'folder'}") == 0
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in strange.glob("known_*"):
        shutil.copy(path, photographs)
    for rule in ("outside", "grade"):
        words = [f"model={tmp_path / 'folder'}", f"images={photographs}", f"out={tmp_path / rule}.html", "audit=null"]
        assert command("worklist", *words, f"refer_if=[{rule}]", "threads=1") == 0
    # A drawn photograph may be too bad to be graded, which comes first.
    assert "unsure" in set(pd.read_csv(tmp_path / "outside.csv")["action"]) <= {"unsure", "recheck"}
    assert "unsure" not in set(pd.read_csv(tmp_path / "grade.csv")["action"])
    assert "lies outside what the network saw" in (tmp_path / "outside.html").read_text()
    assert "lies outside what the network saw" not in (tmp_path / "grade.html").read_text()


def test_a_data_set_that_differs_is_told(
    run: Path, synthetic_idrid: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(synthetic_idrid, tmp_path / "idrid"))
    for path in root.rglob("*.jpg"):
        picture = cv2.imread(str(path))
        inside = picture.max(axis=2, keepdims=True) > 20
        cv2.imwrite(str(path), np.where(inside, 255 - picture[..., ::-1] // 2, picture))
    words = ["data=idrid", f"data.root={root}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0", "accelerator=cpu"]
    assert command("evaluate", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", *words, f"run_dir={tmp_path / 'o'}") == 0
    told = json.loads((tmp_path / "o" / "metrics.json").read_text())[OUTSIDE]
    assert told["share"]["value"] > 0.5 and told["auroc_from_validation"]["value"] > 0.9
    assert "These photographs differ from those of the training" in (tmp_path / "o" / "report.html").read_text()


def test_calibrate_false_describes_nothing_and_damage_is_one_sentence(
    run: Path, strange: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = Path(shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "a.ckpt"))
    words = [f"ckpt={ckpt}", f"images={strange}", f"out={tmp_path / 'out.csv'}", "num_workers=0", "accelerator=cpu"]
    kept = torch.load(ckpt, weights_only=True)["retinai"][OUTSIDE]
    store_metadata(ckpt, OUTSIDE, {**kept, "noise": -1.0})
    assert command("predict", *words) == 2
    said = capsys.readouterr().err
    assert "description of its training photographs cannot be used" in said and "Traceback" not in said
    store_metadata(ckpt, OUTSIDE, None)
    assert command("predict", *words) == 0
    assert "distance" not in pd.read_csv(tmp_path / "out.csv")
