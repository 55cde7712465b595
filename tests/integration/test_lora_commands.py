"""`tuning=lora` through the commands: trained by train.py, used, exported with its adapters merged, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

Command = Callable[..., int]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    outputs = tmp_path_factory.mktemp("lora")
    return [f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}"]


@pytest.fixture(scope="module")
def words(synthetic_aptos: Path, places: list[str]) -> list[str]:
    text = f"""data=aptos data.root={synthetic_aptos} data.num_workers=0 data.batch_size=16 backbone.input_size=32
        trainer=cpu trainer.max_epochs=1 logger=none tuning=lora optimizer.lr=0.05"""
    return [*text.split(), *places]


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by train.py with EfficientNet-Lite0's own weights, and what it printed."""
    folder = tmp_path_factory.mktemp("run") / "lora"
    done = subprocess.run(
        [sys.executable, "train.py", *words, f"run_dir={folder}"], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def small_run(words: list[str], command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a network of the same kinds of layers, which is exported in a moment."""
    folder = tmp_path_factory.mktemp("small") / "lora"
    small = ["backbone.architecture=test_efficientnet", "backbone.weights=none"]
    assert command("train", *words, *small, f"run_dir={folder}") == 0
    return folder


def test_the_run_says_what_trains_and_keeps_no_base(run: Path) -> None:
    printed = " ".join((run / "printed.txt").read_text().split())
    assert "parameters train (" in printed and "LoRA of rank 8 on 32 layers" in printed
    assert json.loads((run / "run.json").read_text())["tuning"] == "lora"
    kept = torch.load(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert kept and all("lora_" in key or ".head." in key for key in kept)


def test_the_checkpoint_is_evaluated_and_exported_with_its_adapters_merged(
    small_run: Path, places: list[str], synthetic_aptos: Path, command: Command, tmp_path: Path
) -> None:
    ckpt, exported = f"ckpt={small_run / 'checkpoints' / 'best.ckpt'}", tmp_path / "exported"
    assert command("evaluate", ckpt, f"run_dir={tmp_path / 'evaluation'}", "accelerator=cpu", *places) == 0
    measured = [json.loads((f / "metrics.json").read_text())["qwk"] for f in (small_run, tmp_path / "evaluation")]
    assert measured[0] == measured[1]
    assert command("export", ckpt, f"out={exported}", "num_workers=0", *places) == 0
    check = json.loads((exported / "model.json").read_text())["check"]
    assert check["changed_decisions"] == 0 and check["largest_difference"] <= 1e-4, check
    names = [tensor.name for tensor in onnx.load(exported / "network.onnx").graph.initializer]
    assert names and not any("lora" in name for name in names)
    tables = []
    for source in (ckpt, f"model={exported}"):
        out = tmp_path / f"{len(tables)}.csv"
        given = [source, f"images={synthetic_aptos / 'train_images'}", f"out={out}"]
        assert command("predict", *given, *(["accelerator=cpu", "num_workers=0"] if source is ckpt else [])) == 0
        tables.append(pd.read_csv(out).filter(regex="^p[_0-9]|probability"))
    assert tables[0].shape[1] == 5
    np.testing.assert_allclose(*[table.dropna().to_numpy() for table in tables], atol=1e-4)


def test_a_student_of_a_teacher_with_adapters(run: Path, words: list[str], command: Command, tmp_path: Path) -> None:
    student = ["model=distiller", f"teacher.ckpt={run / 'checkpoints' / 'best.ckpt'}", "backbone=resnet18"]
    small = ["backbone.architecture=test_resnet", "backbone.weights=none", "tuning.targets=[conv1x1,conv]"]
    assert command("train", *words, *student, *small, f"run_dir={tmp_path / 'run'}", "test=false") == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["tuning.targets=attention"], "attention matches no layer of backbone efficientnet_lite0; it has conv (32"),
        (["backbone=resnet18", "backbone.weights=none", "tuning.targets=mlp"], "it has conv (19 layers)"),
        (["tuning.rank=0"], "tuning.rank=0"),
        (["tuning.alpha=0"], "tuning.alpha=0 is not allowed (valid: a number above 0)"),
        (["tuning.blocks=2"], "tuning has no key 'blocks'"),
        (["tuning=qlora"], "tuning=qlora is of a language model"),
    ],
)
def test_what_makes_no_sense_is_refused(
    more: list[str], told: str, words: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *words, *more, f"run_dir={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said and not (tmp_path / "run").exists()
