"""`backbone=llava_small` through the public commands; the language model is of the same class, but tiny."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_llava import write_language
from small_network import SMALL_NETWORK

from retinai.data.photographs.normalise import normalise
from retinai.errors import CheckpointError, UserError
from retinai.modules.load import load_module

QUICK = [
    "model=llava", "backbone=llava_small", "backbone.input_size=64", "backbone.image_tokens=4", "trainer=cpu",
    "logger=none", "data.limit=5", "data.num_workers=0", "data.batch_size=5", "trainer.max_epochs=1",
    "model.max_answer_tokens=4", "tuning=lora", "tuning.rank=4", "augment=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, language: Path, synthetic_idrid: Path, command: Callable[..., int]
) -> Path:
    """Folder of a finished run with kept vision tokens."""
    folder = tmp_path_factory.mktemp("small")
    words = [*QUICK, f"backbone.language={language}", "data=idrid", f"data.root={synthetic_idrid}"]
    words += ["model.cache_vision=true", f"paths.cache={folder / 'cache'}", f"run_dir={folder / 'run'}"]
    assert command("train", *words) == 0
    return folder / "run"


def test_it_ends_like_any_run(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["answers"]["valid"] == 1.0 and "qwk" in metrics
    kept = list((run.parent / "cache" / "vision").glob("*/*/*.npy"))
    table = pd.read_csv(run / "split.csv")
    assert 0 < len(kept) <= (table["split"] != "").sum()
    assert (run / "checkpoints" / "best.ckpt").stat().st_size < 1_500_000  # neither tower nor language model


def test_evaluate_computes_what_was_kept(run: Path, command: Callable[..., int], tmp_path: Path) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert command("evaluate", f"ckpt={checkpoint}", f"run_dir={tmp_path / 'again'}", "accelerator=cpu") == 0
    ours, theirs = (pd.read_csv(folder / "predictions.csv") for folder in (tmp_path / "again", run))
    chances = [frame.filter(regex="^p_").to_numpy() for frame in (ours, theirs)]
    np.testing.assert_allclose(chances[0], chances[1], atol=0.02)  # kept in float16, computed in bfloat16


def test_varied_photographs_cannot_be_kept(
    language: Path, synthetic_idrid: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK[:-1], f"backbone.language={language}", "data=idrid", f"data.root={synthetic_idrid}"]
    assert command("train", *words, "model.cache_vision=true") == 2
    assert "add augment=none" in capsys.readouterr().err


def test_a_trained_classifier_is_the_tower(
    language: Path,
    synthetic_idrid: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    small = ["trainer=cpu", "logger=none", "data.limit=5", "data.num_workers=0", "data.batch_size=5", "data=idrid",
             f"data.root={synthetic_idrid}", "trainer.max_epochs=1", "test=false"]  # fmt: skip
    tower = tmp_path / "tower"
    backbone = [*SMALL_NETWORK, "backbone.input_size=64"]
    assert command("train", *small, *backbone, f"run_dir={tower}") == 0
    words = [*QUICK, "data=idrid", f"data.root={synthetic_idrid}", f"backbone.language={language}", "test=false"]
    vision = f"backbone.vision={tower / 'checkpoints' / 'best.ckpt'}"
    capsys.readouterr()
    assert command("train", *words, vision) == 2
    assert "backbone.mean=" in capsys.readouterr().err
    colours = ["backbone.mean=[0.485,0.456,0.406]", "backbone.std=[0.229,0.224,0.225]"]
    out = tmp_path / "llava"
    assert command("train", *words, vision, *colours, f"run_dir={out}") == 0
    best = out / "checkpoints" / "best.ckpt"
    assert load_module(best).network.tower.width == 96
    assert command("train", *words, "+init=ckpt", f"init.path={best}", f"run_dir={tmp_path / 'other'}") == 2
    told = capsys.readouterr().err
    assert "tokens of 96 numbers" in told and "gives tokens of 1280" in told
    shutil.move(tower, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not there; a LLaVA's checkpoint does not hold its tower"):
        load_module(best)


def test_a_checkpoint_of_another_tower_is_refused(run: Path, tmp_path: Path) -> None:
    from retinai.encoders.checkpoint_io import AtomicCheckpointIO

    files = AtomicCheckpointIO()
    content = files.load_checkpoint(run / "checkpoints" / "best.ckpt")
    content["retinai"]["hparams"]["backbone"]["vision"] = "efficientnet_lite1"
    files.save_checkpoint(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="another base network"):
        load_module(tmp_path / "other.ckpt")


# What a user of the exported parts writes after the code of the card.
PLAIN = """
settings = json.load(open(f"{FOLDER}/grading.json"))
photograph, scores = Image.open(PHOTOGRAPH), []
with torch.no_grad():
    for sentence in settings["grade_sentences"]:
        begun, _ = embed(settings["prompt"], photograph)
        ids, embedded = embed(settings["prompt"] + " " + sentence, photograph)
        logs = language(inputs_embeds=embedded).logits[0].float().log_softmax(-1)
        places = range(begun.shape[1], ids.shape[1])
        scores.append(sum(logs[place - 1, ids[0, place]].item() for place in places))
import sys
json.dump({"probability": torch.tensor(scores).softmax(0).tolist(), "modules": sorted(sys.modules)}, open(OUT, "w"))
"""


def test_the_exported_parts_need_no_retinai(run: Path, command: Callable[..., int], tmp_path: Path) -> None:
    checkpoint, folder = run / "checkpoints" / "best.ckpt", tmp_path / "folder"
    assert command("export", f"ckpt={checkpoint}", "format=hf", f"out={folder}") == 0
    card = (folder / "README.md").read_text()
    assert "`LlavaForConditionalGeneration` cannot load this folder" in card
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    names = f"FOLDER, PHOTOGRAPH, OUT = {str(folder)!r}, 'photograph.png', 'out.json'\n"
    code = card.split("```python\n")[1].split("```")[0]
    (tmp_path / "plain.py").write_text(names + code + PLAIN)
    done = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert not any(name.startswith("retinai") for name in found["modules"])
    module = load_module(checkpoint)
    with torch.no_grad():
        images = torch.from_numpy(normalise(pixels[None], module.preprocessing))
        expected = module.predict_probabilities(images)[0].tolist()
    np.testing.assert_allclose(found["probability"], expected, atol=0.02)  # bfloat16 beside float32


def test_labels_are_asked_one_by_one(
    language: Path, synthetic_odir: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    words = [*QUICK, f"backbone.language={language}", "data=odir", f"data.root={synthetic_odir}"]
    assert command("train", *words, "data.limit=12", f"run_dir={tmp_path / 'run'}") == 0
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert len(table.filter(regex="^p_").columns) == 8 and "answer" not in table
    assert "macro_f1" in json.loads((tmp_path / "run" / "metrics.json").read_text())
