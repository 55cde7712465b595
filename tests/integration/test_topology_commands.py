"""Topology through the commands: prepared once, trained, tested, evaluated and predicted alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.data.photographs.arrays import write_array
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.modules.load import load_module
from retinai.topology.branch import topology_of
from retinai.topology.cache import TopologyCache
from retinai.topology.persistence import TopologySettings, persistence_images

Command = Callable[..., int]
NETWORK = ["backbone=resnet18", "backbone.architecture=test_resnet", "backbone.weights=none", "backbone.input_size=32"]
TOPOLOGY = ["topology=cubical", "topology.size=64", "topology.resolution=8", "topology.hidden=[8]", "topology.width=4"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("topology")


@pytest.fixture(scope="module")
def data(synthetic_aptos: Path, place: Path) -> list[str]:
    return ["data=aptos", f"data.root={synthetic_aptos}", f"paths.cache={place / 'cache'}"]


@pytest.fixture(scope="module")
def checkpoint(place: Path, data: list[str], command: Command) -> Path:
    """A run that finds nothing prepared: persistence images are computed on the way."""
    words = ["trainer=cpu", "trainer.max_epochs=1", "logger=none", "data.num_workers=0", "topology.fusion=gated"]
    folder = place / "run"
    assert command("train", *data, *NETWORK, *TOPOLOGY, *words, f"run_dir={folder}") == 0
    return folder / "checkpoints" / "best.ckpt"


def evaluate(command: Command, checkpoint: Path, out: Path, cache: Path) -> pd.DataFrame:
    words = [f"ckpt={checkpoint}", f"run_dir={out}", f"paths.cache={cache}", "accelerator=cpu", "num_workers=0"]
    assert command("evaluate", *words) == 0
    return pd.read_csv(out / "predictions.csv", dtype={"id": str})


def test_the_module_decides_at_evaluation_and_prediction_and_the_cache_changes_nothing(
    checkpoint: Path, place: Path, data: list[str], synthetic_aptos: Path, command: Command
) -> None:
    module = load_module(checkpoint)
    settings = topology_of(module)
    assert settings is not None and settings.fusion == "gated" and settings.size == 64
    tested = pd.read_csv(place / "run" / "predictions.csv", dtype={"id": str})
    images, out = synthetic_aptos / "train_images", place / "p.csv"
    assert command("predict", f"ckpt={checkpoint}", f"images={images}", f"out={out}", "num_workers=0") == 0
    loose = pd.read_csv(out, dtype={"id": str}).set_index("id").loc[tested["id"]]
    np.testing.assert_allclose(loose.filter(like="p_"), tested.filter(like="p_"), atol=1e-5)

    assert command("prepare", *data, *NETWORK, *TOPOLOGY, f"run_dir={place / 'found'}") == 0
    cache = TopologyCache(place / "cache", module.preprocessing, settings)
    assert cache.size()[0] > 50
    pd.testing.assert_frame_equal(evaluate(command, checkpoint, place / "cached", place / "cache"), tested)
    # Evaluation does read the cache: with other images in it, it says other things.
    for file in cache.folder.rglob("*.npy"):
        write_array(file, 50 * np.load(file)[::-1])
    changed = evaluate(command, checkpoint, place / "changed", place / "cache")
    assert not np.allclose(changed.filter(like="p_"), tested.filter(like="p_"), atol=1e-4)


def test_a_teacher_with_topology_teaches_a_student_without(
    checkpoint: Path, place: Path, data: list[str], command: Command
) -> None:
    student = [*NETWORK[:3], "backbone.input_size=24", "model=distiller", f"teacher.ckpt={checkpoint}"]
    words = [
        "trainer=cpu",
        "trainer.max_epochs=1",
        "logger=none",
        "data.num_workers=0",
        "test=false",
        "calibrate=false",
    ]
    assert command("train", *data, *student, *words, f"run_dir={place / 'student'}") == 0
    trained = load_module(place / "student" / "checkpoints" / "best.ckpt")
    assert topology_of(trained) is None and trained.photograph_fields() == []


def test_prepare_computes_once_draws_and_says_so(
    place: Path, data: list[str], synthetic_aptos: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TopologySettings(size=64, resolution=8, channel="grey")
    words = [*data, *NETWORK, *TOPOLOGY, "topology.channel=grey", f"run_dir={place / 'grey'}"]
    assert command("prepare", *words) == 0
    figure = np.asarray(Image.open(place / "grey" / "figures" / "topology.png").convert("L"))
    assert figure.std() > 10
    cache = TopologyCache(place / "cache", Preprocessing(32, (0, 0, 0), (1, 1, 1), "bicubic"), settings)
    assert f"topology: {cache.size()[0]} photographs" in capsys.readouterr().out
    path = next((synthetic_aptos / "train_images").glob("*.png"))
    prepared = PreparedCache(place / "cache", cache.preprocessing).load(path)
    assert prepared is not None
    np.testing.assert_array_equal(cache.load(path), persistence_images(prepared, settings))
    before = {file: file.stat().st_mtime_ns for file in cache.folder.rglob("*.npy")}
    assert command("prepare", *words) == 0
    assert {file: file.stat().st_mtime_ns for file in cache.folder.rglob("*.npy")} == before


def test_the_users_faults_are_one_sentence(
    checkpoint: Path, place: Path, data: list[str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["+init=ckpt", f"init.path={checkpoint}", "logger=none", "data.num_workers=0", *NETWORK]
    cases = [
        (["train", *data, *start], "was trained with topology and this run has none"),
        (["train", *data, *start, *TOPOLOGY], "set topology.fusion=gated"),
        (
            ["train", *data, "topology=cubical", "topology.channel=red"],
            "topology.channel=red is not allowed",
        ),
        (["train", *data, "topology=cubical", "topology.sigmaa=3"], "sigma"),
        (["train", *data, "model=llava", "topology=cubical"], "takes no topology"),
        (["prepare", *data, "format=llava_jsonl", "topology=cubical"], "means nothing with format=llava_jsonl"),
        (["evaluate", f"ckpt={checkpoint}", "topology=cubical"], "topology"),
    ]
    for words, told in cases:
        assert command(*words) == 2, words
        said = capsys.readouterr().err
        assert told in said and "Traceback" not in said, (words, said)
