"""`retinai prepare` as it is typed."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.commands.prepare import duplicate_table, run
from retinai.config.compose import compose
from retinai.data.curation.duplicates import DuplicateGroup
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError

SIZE = "backbone.input_size=64"


@pytest.fixture
def faulty(synthetic_aptos, tmp_path):
    """The small cohort of APTOS with faults: four bad files, one copy and one near copy under other labels."""
    root = tmp_path / "aptos"
    shutil.copytree(synthetic_aptos, root)
    labels = pd.read_csv(root / "train.csv").drop_duplicates("id_code")
    ids, images = labels["id_code"].tolist(), root / "train_images"
    twins = [i for i in ids if i != ids[0] and same_bytes(images, i, ids)]
    labels = labels[~labels["id_code"].isin(twins)]
    ids = labels["id_code"].tolist()
    (images / f"{ids[1]}.png").write_bytes(b"")
    (images / f"{ids[2]}.png").write_text("no photograph")
    (images / f"{ids[3]}.png").unlink()
    data = (images / f"{ids[4]}.png").read_bytes()
    (images / f"{ids[4]}.png").write_bytes(data[: len(data) // 2])
    labels = labels.set_index("id_code")
    labels.loc[[ids[5], ids[6], ids[7], ids[8]], "diagnosis"] = [1, 2, 3, 3]
    labels.reset_index().to_csv(root / "train.csv", index=False)
    shutil.copy(images / f"{ids[5]}.png", images / f"{ids[6]}.png")
    pixels = np.asarray(Image.open(images / f"{ids[7]}.png").convert("RGB")).astype(int)
    pixels += np.random.default_rng(0).integers(-1, 2, pixels.shape)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(images / f"{ids[8]}.png")
    return root, ids


def same_bytes(images, name, ids):
    data = (images / f"{name}.png").read_bytes()
    return any((images / f"{other}.png").read_bytes() == data for other in ids if other != name)


def test_faults_are_listed_duplicates_found_and_the_rest_prepared(run_cli, faulty, tmp_path, monkeypatch, capsys):
    root, ids = faulty
    words = ["prepare", "data=aptos", f"data.root={root}", SIZE, "run_dir=found", "paths.cache=cache"]
    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines()[-1] == "run folder: found"
    assert "Traceback" not in done.stderr
    assert "4 of " in done.stderr
    assert "data.on_bad_image=skip" in done.stderr
    problems = pd.read_csv(tmp_path / "found" / "problems.csv", keep_default_na=False)
    assert list(problems.columns) == ["path", "id", "problem"]
    assert dict(zip(problems["id"], problems["problem"], strict=True)) == {
        ids[1]: "empty file",
        ids[2]: "not an image",
        ids[3]: "no such file",
        ids[4]: "truncated PNG",
    }
    assert all(name in done.stdout for name in ids[1:5])
    groups = pd.read_csv(tmp_path / "found" / "duplicates.csv", dtype=str, keep_default_na=False)
    assert list(groups.columns) == ["group", "kind", "size", "ids", "targets", "conflict", "splits"]
    rows = [tuple(row) for row in groups[["kind", "size", "ids", "targets", "conflict"]].to_numpy()]
    assert ("exact", "2", f"{ids[5]}|{ids[6]}", "1|2", "true") in rows
    assert ("near", "2", f"{ids[7]}|{ids[8]}", "3|3", "false") in rows
    for name in ("class_balance", "image_sizes"):
        figure = np.asarray(Image.open(tmp_path / "found" / "figures" / f"{name}.png").convert("L"))
        assert figure.std() > 10
    cache = PreparedCache(tmp_path / "cache", Preprocessing(64, (0.5,) * 3, (0.5,) * 3))
    path = root / "train_images" / f"{ids[10]}.png"
    assert np.array_equal(cache.load(path), prepare_photograph(read_photograph(path), cache.preprocessing))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")}
    run_here(*words[1:], "data.on_bad_image=skip", cwd=tmp_path, monkeypatch=monkeypatch)
    assert "4 cannot be used" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")} == before


def run_here(*words, cwd, monkeypatch):
    """Run the command in this process, which spares the start of another."""
    monkeypatch.chdir(cwd)
    run(compose("prepare", list(words)))


def test_labels_that_cannot_be_used_are_told(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("id_code,diagnosis\nabc,7\n")
    words = ["data=aptos", f"data.root={tmp_path}", "run_dir=found", "paths.cache=cache"]
    with pytest.raises(UserError, match="whole number from 0 to 4"):
        run_here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
    assert "whole number from 0 to 4" in pd.read_csv(tmp_path / "found" / "problems.csv")["problem"][0]
    assert not (tmp_path / "cache").exists()


def test_run_dir_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match="run_dir=taken is a file"):
        run_here("data=aptos", "run_dir=taken", cwd=tmp_path, monkeypatch=monkeypatch)
    assert (tmp_path / "taken").read_text() == "mine"


def test_contrast_options_and_the_default_folder(synthetic_idrid, tmp_path, monkeypatch, capsys):
    options = ["data.preprocess.ben_graham=true", "data.preprocess.clahe=true", SIZE]
    run_here("data=idrid", f"data.root={synthetic_idrid}", *options, cwd=tmp_path, monkeypatch=monkeypatch)
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1].removeprefix("run folder: ")
    assert folder.parent == tmp_path / "outputs" / "idrid" / "prepare"
    assert sorted(p.name for p in folder.iterdir()) == ["duplicates.csv", "figures", "problems.csv", "quality.csv"]
    settings = Preprocessing(64, (0.5,) * 3, (0.5,) * 3, ben_graham=True, clahe=True)
    path = next(synthetic_idrid.glob("B. Disease Grading/1. Original Images/*/*.jpg"))
    cache = PreparedCache(tmp_path / "outputs" / "cache", settings)
    assert np.array_equal(cache.load(path), prepare_photograph(read_photograph(path), settings))


def test_table_of_duplicates_by_hand():
    rows = [("a", "p1", 2, "train"), ("b", "p2", 3, "test"), ("c", "p3", None, "predict"), ("d", "p4", (0, 1), "")]
    table = pd.DataFrame(rows, columns=["id", "path", "target", "split"], dtype=object)
    groups = [
        DuplicateGroup("exact", ("p1", "p2")),
        DuplicateGroup("near", ("p1", "p3")),
        DuplicateGroup("near", ("p4", "p4")),
    ]
    assert duplicate_table(table, groups).to_numpy().tolist() == [
        [1, "exact", 2, "a|b", "2|3", "true", "train|test"],
        [2, "near", 2, "a|c", "2|", "false", "train|predict"],
        [3, "near", 2, "d|d", "0 1|0 1", "false", "|"],
    ]


def test_the_synthetic_cohort_needs_no_folder(tmp_path, monkeypatch, capsys):
    run_here("data=synthetic", "data.n=10", "data.size=64", SIZE, cwd=tmp_path, monkeypatch=monkeypatch)
    assert "photographs: " in capsys.readouterr().out
