"""Weights that are no numbers grade nobody, and a training that makes such weights says so; through the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import numpy_helper
from small_network import SMALL_NETWORK

from retinai.encoders.checkpoint_io import AtomicCheckpointIO
from retinai.runtime.folder import hash_file, manifest_digest

Command = Callable[..., int]
TINY = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none"]
TINY += ["data.num_workers=0", "data.batch_size=8", "trainer.max_epochs=2"]


@pytest.fixture
def words(synthetic_aptos: Path, tmp_path: Path) -> list[str]:
    return [
        "data=aptos",
        f"data.root={synthetic_aptos}",
        f"run_dir={tmp_path / 'run'}",
        f"paths.cache={tmp_path / 'c'}",
    ]


@pytest.mark.parametrize(
    "override",
    ["optimizer.lr=inf", "optimizer.lr=nan", "optimizer.betas=[inf,0.9]", "trainer.gradient_clip_val=inf"],
)
def test_infinity_and_nan_are_refused_as_values(
    command: Command, words: list[str], tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *words, *TINY, override) == 2
    said = capsys.readouterr().err
    assert override.partition("=")[0] in said and "is not allowed" in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_training_that_diverges_stops_and_says_so(
    command: Command, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["optimizer.lr=1e30", "scheduler=constant", "test=false", "calibrate=false"]
    assert command("train", *words, *TINY, *given) == 2
    said = capsys.readouterr().err
    sentence = said[said.index("error: ") :]
    assert "at step " in sentence and "learning rate 1e+30" in sentence and "try a lower optimizer.lr" in sentence
    assert "Traceback" not in said and len(sentence.splitlines()) == 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed" and "try a lower optimizer.lr" in record["reason"]
    assert not list((tmp_path / "run").glob("checkpoints/*.ckpt"))


@pytest.fixture
def photographs(synthetic_aptos: Path, tmp_path: Path) -> Path:
    place = tmp_path / "photographs"
    place.mkdir()
    for path in sorted((synthetic_aptos / "train_images").glob("*.png"))[:3]:
        shutil.copy(path, place)
    return place


def refused(command: Command, capsys: pytest.CaptureFixture[str], *given: Any) -> str:
    capsys.readouterr()
    assert command(*given) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said[said.index("error: ") :].strip()


@pytest.mark.parametrize("fault", ["not a number", "flipped byte", "hostile"])
def test_a_checkpoint_that_is_not_as_written_is_refused_by_every_command(
    command: Command, tiny_checkpoint: Path, synthetic_aptos: Path, photographs: Path, tmp_path: Path, fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bad, executed = tmp_path / "bad.ckpt", tmp_path / "executed"
    content = torch.load(tiny_checkpoint)
    weight = content["state_dict"]["network.head.weight"]
    if fault == "flipped byte":
        data = bytearray(tiny_checkpoint.read_bytes())
        data[data.index(weight.numpy().tobytes()) + 3] ^= 1
        bad.write_bytes(data)
    else:
        weight[0, 0] = float("nan") if fault == "not a number" else weight[0, 0]
        if fault == "hostile":
            section = {"_target_": "retinai.files.write_text", "path": str(executed), "text": "executed"}
            content["retinai"]["hparams"]["loss"] = section
        AtomicCheckpointIO().save_checkpoint(content, bad)
    part = {"not a number": "no finite numbers", "flipped byte": "is damaged", "hostile": "is no Criterion"}[fault]
    data_words = ["data=aptos", f"data.root={synthetic_aptos}", f"paths.cache={tmp_path / 'c'}"]
    out = tmp_path / "grades.csv"
    for given in (
        ["predict", f"ckpt={bad}", f"images={photographs}", f"out={out}", "num_workers=0"],
        ["evaluate", f"ckpt={bad}", *data_words, "num_workers=0"],
        ["export", f"ckpt={bad}", f"out={tmp_path / 'folder'}", f"paths.cache={tmp_path / 'c'}"],
        ["train", *data_words, *TINY, "+init=ckpt", f"init.path={bad}", f"run_dir={tmp_path / 'run'}"],
    ):
        said = refused(command, capsys, *given)
        assert part in said and "bad.ckpt" in said and len(said.splitlines()) == 1, said
    assert not out.exists() and not executed.exists() and not (tmp_path / "folder").exists()
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_from_a_flipped_byte(
    command: Command, tiny_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(tiny_runs[0], tmp_path / "run"))
    last = run / "checkpoints" / "last.ckpt"
    states = torch.load(last)["optimizer_states"][0]["state"].values()
    moments = next(state["exp_avg"] for state in states if state["exp_avg"].ndim == 1 and state["exp_avg"].any())
    data = bytearray(last.read_bytes())
    data[data.index(moments.numpy().tobytes()) + 3] ^= 1
    last.write_bytes(data)
    config = (run / "config.yaml").read_text()
    root = next(line.split(": ")[1] for line in config.splitlines() if line.strip().startswith("root: "))
    words = ["data=aptos", f"data.root={root}", "data.folds=2", "data.fold=0", "data.num_workers=0"]
    words += [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none"]
    words += ["trainer.max_epochs=1", f"paths.cache={tmp_path / 'c'}", f"run_dir={run}", "resume=true"]
    assert "last.ckpt is damaged" in refused(command, capsys, "train", *words)


def test_a_folder_whose_weights_are_no_numbers_is_refused(
    command: Command, tiny_checkpoint: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outputs = tmp_path / "folder", tiny_checkpoint.parents[2]
    places = [f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}", "num_workers=0"]
    assert command("export", f"ckpt={tiny_checkpoint}", f"out={folder}", *places) == 0
    model = onnx.load(folder / "network.onnx")
    weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values[0, 0, 0, 0] = np.nan
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, folder / "network.onnx")
    facts = json.loads((folder / "model.json").read_text())
    facts["files"]["network.onnx"] = hash_file(folder / "network.onnx")
    (folder / "model.json").write_text(json.dumps(facts | {"sha256": manifest_digest(facts)}))
    out = tmp_path / "grades.csv"
    said = refused(command, capsys, "predict", f"model={folder}", f"images={photographs}", f"out={out}")
    assert "probabilities that are no numbers" in said and len(said.splitlines()) == 1
    assert not out.exists()


def test_a_photograph_whose_probabilities_are_no_numbers_gets_its_reason(
    tiny_checkpoint: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retinai.modules.load import load_module
    from retinai.prediction.files import predict_files
    from retinai.prediction.photographs import find_photographs

    module = load_module(tiny_checkpoint)
    with torch.no_grad():  # in memory: no file with such weights is loaded
        module.network.head.bias[:] = float("nan")
    table = predict_files(module, find_photographs(str(photographs)), num_workers=0, accelerator="cpu")
    assert table["prediction"].isna().all() and table.filter(like="p_").isna().all(axis=None)
    assert set(table["error"]) == {"the network gave probabilities that are no finite numbers"}
    assert isinstance(table, pd.DataFrame) and len(table) == 3
