"""`retinai probe` on made-up embeddings of real tables: metrics, targets, comparisons, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from retinai.data.curation.file_index import FileIndex
from retinai.data.sources.idrid import IdridSource
from retinai.data.sources.odir import OdirSource
from retinai.embeddings.files import write_embeddings

Command = Callable[..., int]
PREPROCESSING = {"input_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3, "interpolation": "area", "crop": "fov",
                 "ben_graham": False, "clahe": False}  # fmt: skip


@pytest.fixture(scope="module")
def table(synthetic_idrid: Path) -> pd.DataFrame:
    """The table of the cohort."""
    return IdridSource(root=str(synthetic_idrid)).read_table()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share, so that files are fingerprinted once."""
    return tmp_path_factory.mktemp("cache")


def write(file: Path, table: pd.DataFrame, cache: Path, noise: float, ids: list[str] | None = None) -> Path:
    """Write embeddings that know the grade, under noise."""
    rng = np.random.default_rng(0)
    signal = np.array(table["target"].tolist(), dtype=np.float32)[:, None]
    vectors = np.concatenate([signal + rng.normal(0, noise, signal.shape), rng.normal(size=(len(table), 5))], axis=1)
    index = FileIndex(cache)
    texts = {
        "id": ids or table["id"].tolist(),
        "path": table["path"].tolist(),
        "sha256": [str(index.content_hash(path)) for path in table["path"]],
    }
    info = {"backbone": "made_up", "weights": "none", "pooling": "own", "preprocessing": PREPROCESSING}
    write_embeddings(file, vectors.astype(np.float32), range(len(table)), texts, info)
    return file


@pytest.fixture
def words(synthetic_idrid: Path, cache: Path, tmp_path: Path) -> list[str]:
    """What probes the cohort, without file and target."""
    places = [f"paths.cache={cache}", f"paths.outputs={tmp_path}", f"run_dir={tmp_path / 'run'}", "resamples=50"]
    return ["probe", "data=idrid", f"data.root={synthetic_idrid}", *places]


def test_one_probe_leaves_what_an_evaluation_leaves(
    words: list[str], table: pd.DataFrame, cache: Path, tmp_path: Path, command: Command
) -> None:
    file = write(tmp_path / "e.npz", table, cache, 0.8)
    assert command(*words, f"embeddings={file}", "target=any_dr", "label_issues=true") == 0
    run = tmp_path / "run"
    issues = pd.read_csv(run / "label_issues.csv")
    assert list(issues) == ["id", "path", "label", "suggested", "confidence", "margin"]
    assert issues["margin"].is_monotonic_increasing and (issues["label"] != issues["suggested"]).all()
    metrics, rows = json.loads((run / "metrics.json").read_text()), pd.read_csv(run / "predictions.csv")
    assert metrics["n"] == len(rows) == (table["split"] == "test").sum() and set(rows["id"].str[:5]) == {"test_"}
    assert metrics["task"]["kind"] == "binary"
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(rows["target"], rows["p_any_dr"]))
    truth = dict(zip(table["id"], table["target"], strict=True))
    assert [int(truth[name] >= 1) for name in rows["id"]] == rows["target"].tolist()
    assert "A photograph with the finding" in (run / "report.html").read_text()
    record = json.loads((run / "probe.json").read_text())
    assert record["settings"][0]["training"] == (table["split"] == "train").sum() and record["method"] == "linear"


def test_several_files_and_targets_are_compared(
    words: list[str], table: pd.DataFrame, cache: Path, tmp_path: Path, command: Command
) -> None:
    good, bad = write(tmp_path / "good.npz", table, cache, 0.1), write(tmp_path / "bad.npz", table, cache, 9.0)
    asked = ["target=any_dr,grade,dme", "shots=50,100", "draws=1", "smote=true"]
    assert command(*words, f"embeddings={good},{bad}", *asked) == 0
    run = tmp_path / "run"
    record, page = json.loads((run / "probe.json").read_text()), (run / "probe.md").read_text()
    scores = record["scores"]
    assert list(scores) == ["any_dr", "grade", "dme"] and list(scores["dme"]) == ["good", "bad"]
    assert scores["any_dr"]["good"]["value"] > scores["any_dr"]["bad"]["value"]
    kept = json.loads((run / "grade" / "good" / "metrics.json").read_text())
    assert kept["auroc"] == scores["grade"]["good"] and "qwk" in kept
    ranks = record["comparison"]["ranks"]
    assert ranks["ranks"]["good"] < ranks["ranks"]["bad"] and len(record["comparison"]["differences"]) == 3
    shots = pd.read_csv(run / "few_shots.csv")
    assert shots.groupby("percent").size().to_dict() == {50.0: 6, 100.0: 6}
    assert "Wins, ties and losses" in page and "| percent of patients |" in page
    drawn = {file.name for file in (run / "figures").iterdir()}
    assert drawn == {"scores.png", "few_shots.png", "critical_difference.png"}


def test_all_leaves_out_what_cannot_be_asked(
    words: list[str], table: pd.DataFrame, cache: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    file = write(tmp_path / "e.npz", table, cache, 0.5)
    assert command(*words, f"embeddings={file}", "target=all", "method=knn") == 0
    scores = json.loads((tmp_path / "run" / "probe.json").read_text())["scores"]
    assert {"any_dr", "referable", "grade", "dme"} <= set(scores)
    assert "grade_0" not in scores  # it is any_dr turned round


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["target=any_drr"], "target=any_drr is unknown for data=idrid; valid: all, grade, any_dr"),
        (["embeddings=/nowhere.npz"], "/nowhere.npz is no file"),
        (["embeddings=[a/e.npz,b/e.npz]"], "two files of one name"),
        (["data=aptos", "data.root=/nowhere"], "/nowhere"),
        (["shots=[0]"], "shots"),
        (["method=svm"], "linear, knn"),
        (["data.folds=2", "data.fold=2"], "data.fold=2 does not exist"),
    ],
)
def test_faults_are_one_sentence(
    more: list[str], told: str, words: list[str], table: pd.DataFrame, cache: Path, tmp_path: Path,
    command: Command, capsys: Any,
) -> None:  # fmt: skip
    file = write(tmp_path / "e.npz", table, cache, 1.0)
    given = [word for word in words if not (word.startswith("data") and more[0] == "data=aptos")]
    assert command(*given, f"embeddings={file}", "target=any_dr", *more) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said, said
    assert not (tmp_path / "run").exists()


def test_embeddings_of_other_photographs_and_classes_of_one_are_refused(
    words: list[str], table: pd.DataFrame, cache: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    turned = table.assign(path=table["path"].tolist()[::-1])
    single = table.copy()
    single.loc[single["split"] == "train", "target"] = 0
    renamed = [f"x{name}" for name in table["id"]]
    cases = [
        (write(tmp_path / "turned.npz", turned, cache, 1.0), "was made of other photographs"),
        (write(tmp_path / "some.npz", table[5:], cache, 1.0), "lacks 5 of the"),
        (write(tmp_path / "renamed.npz", table, cache, 1.0, renamed), "lacks"),
    ]
    for file, told in cases:
        assert command(*words, f"embeddings={file}", "target=any_dr") == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_labels_of_which_any_number_holds_are_asked_one_by_one(
    synthetic_odir: Path, cache: Path, tmp_path: Path, command: Command
) -> None:
    table = OdirSource(root=str(synthetic_odir)).read_table()
    signal = table.assign(target=[0 if target is None else sum(target) for target in table["target"]])
    file = write(tmp_path / "e.npz", signal, cache, 0.5)
    words = ["data=odir", f"data.root={synthetic_odir}", f"embeddings={file}", "target=N,D", "resamples=20"]
    assert command("probe", *words, f"run_dir={tmp_path / 'run'}", f"paths.cache={cache}") == 0
    scores = json.loads((tmp_path / "run" / "probe.json").read_text())["scores"]
    assert list(scores) == ["N", "D"] and scores["N"]["e"]["value"] is not None
