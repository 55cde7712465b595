"""Grading by text prompts through `retinai evaluate`; the networks are of the real classes, with random weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from retinai.config.paths import conf_dir
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.tasks.known import DR_GRADE
from retinai.zero_shot.prompts import ClassPrompts

SIDE = 32
SHAPE = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def write_network(folder: Path, kind: str, texts: int = 77) -> Path:
    """Write a CLIP or SigLIP with random weights, its tokenizer and its processor's settings; return the folder."""
    import transformers

    from retinai.llava.tiny import _corpus, train_tokenizer

    tokenizer = train_tokenizer(_corpus())
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    text = {**SHAPE, "vocab_size": 1024, "max_position_embeddings": texts, **ids}
    vision = {**SHAPE, "image_size": SIDE, "patch_size": 8}
    sizes = {"text_config": text, "vision_config": vision}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "clip":
            config = transformers.CLIPConfig(**sizes, projection_dim=16, initializer_factor=10.0)
            model: Any = transformers.CLIPModel(config)
        else:
            model = transformers.SiglipModel(transformers.SiglipConfig(**sizes))
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("towers")
    return {kind: write_network(folder / kind, kind) for kind in ("clip", "siglip")}


def words(network: Path, data: Path) -> list[str]:
    return ["evaluate", "backbone=openclip_vit_b16", f"backbone.weights={network}", f"backbone.input_size={SIDE}",
            "data=idrid", f"data.root={data}", "data.num_workers=0", "accelerator=cpu", "logger=none"]  # fmt: skip


def sentences() -> list[list[str]]:
    section = yaml.safe_load((conf_dir() / "prompts" / "dr_grades.yaml").read_text(encoding="utf-8"))
    section.pop("_target_")
    return ClassPrompts(**section).sentences(DR_GRADE)


def by_transformers(folder: Path, kind: str, path: str) -> np.ndarray:
    """Return the probabilities as transformers' own forward pass of photograph and sentences gives them."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    way = Preprocessing.from_dict({"input_size": SIDE, "mean": MEAN, "std": STD, "interpolation": "bicubic",
                                   "decoding": "reduced"})  # fmt: skip
    pixels = Original.read(path).prepared(way).astype(np.float32) / 255
    image = torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)[None].float()
    padding: Any = {"padding": "max_length", "max_length": 77} if kind == "siglip" else {"padding": True}
    means = []
    with torch.no_grad():
        for texts in sentences():
            out = model(**tokenizer(texts, return_tensors="pt", **padding), pixel_values=image)
            means.append(out.text_embeds.numpy().mean(axis=0))
        classes = np.stack([mean / np.linalg.norm(mean) for mean in means])
        logits = model.logit_scale.exp().item() * classes @ out.image_embeds[0].numpy()
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_probabilities_are_those_of_transformers(
    kind: str, networks: dict[str, Path], synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = [*words(networks[kind], synthetic_idrid), "prompts=dr_grades", f"run_dir={out}"]
    assert command(*line) == 0
    table = pd.read_csv(out / "predictions.csv")
    chances = table.filter(regex="^p_").to_numpy()
    assert len(table) == 10 and chances.std(axis=0).max() > 1e-4  # photographs make a difference
    for row in range(2):
        expected = by_transformers(networks[kind], kind, table["path"].iloc[row])
        np.testing.assert_allclose(chances[row], expected, atol=1e-4)
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"qwk", "accuracy"} <= set(metrics)
    record = json.loads((out / "evaluation.json").read_text())
    assert record["prompts"] == "dr_grades" and record["checkpoint"] is None and record["model"] == "zero_shot"


def test_prompts_are_part_of_the_command_line(
    networks: dict[str, Path], synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    line = [*words(networks["clip"], synthetic_idrid), "prompts=dr_grades", f"paths.outputs={tmp_path}"]
    assert command(*line, "prompts.classes.mild=[one red dot]", "prompts.templates=['{}']") == 0
    (folder,) = (tmp_path / "zero_shot" / "openclip_vit_b16_dr_grades" / "evaluation").iterdir()
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["prompts=dr_grades", "data.target=dme"], "the data has"),
        (["prompts=dr_grades", "prompts.templates=[photograph]"], "a template has {} once"),
        (["prompts=dr_grades", "prompts.classes.mild=[no diabetic retinopathy]"], "both have the text"),
        (["prompts=dr_grades", f"prompts.classes.mild=[{'red ' * 60}]"], "; shorten it in prompts."),
        (["prompts=dr_grades", "prompts.classes.mild=[]"], "prompts.classes.mild=[] is not allowed (valid: a list of"),
        (["prompts=dr_grades", "backbone.input_size=64"], "set backbone.input_size=32"),
        (["prompts=dr_grades", "backbone.mean=[0.5,0.5,0.5]"], "set backbone.mean="),
        (["prompts=dr_grades", "backbone.weights=NOWHERE"], "cannot be loaded"),
        (["prompts=dr_grades", "backbone=resnet50", "backbone.weights=pretrained"], "has no text tower"),
        (["prompts=dr_grades", "grading=generate"], "grading=generate means nothing"),
        (["prompts=dr_grades", "ckpt=some.ckpt"], "brings its own network"),
        ([], "prompts= is needed to grade by text prompts"),
    ],
)
def test_what_cannot_be_graded_by_prompts_is_refused(
    more: list[str],
    told: str,
    networks: dict[str, Path],
    synthetic_idrid: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    more = [word.replace("NOWHERE", str(tmp_path / "nowhere")) for word in more]
    out = tmp_path / "out"
    capsys.readouterr()
    assert command(*words(networks["clip"], synthetic_idrid), *more, f"run_dir={out}") == 2
    assert told in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("preprocessor_config.json", "[]", "preprocessor_config.json is not readable"),
        ("preprocessor_config.json", "{", "preprocessor_config.json is not readable"),
        ("preprocessor_config.json", '{"image_mean": [1], "image_std": "x"}', "image_mean=[1], which is no list of 3"),
        ("config.json", '{"model_type": "clip", "vision_config": {"image_size": 0}}', "image_size=0"),
        ("config.json", '{"model_type": "bert"}', "is of type 'bert'"),
        ("model.safetensors", None, "model.safetensors is a named pipe, not a file"),
    ],
)
def test_a_damaged_network_is_named_with_what_is_wrong(
    file: str, content: str | None, told: str, networks: dict[str, Path], synthetic_idrid: Path,
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    network = Path(shutil.copytree(networks["clip"], tmp_path / "clip"))
    (network / file).unlink()
    if content is None:
        os.mkfifo(network / file)
    else:
        (network / file).write_text(content)
    assert command(*words(network, synthetic_idrid), "prompts=dr_grades", f"run_dir={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err
    assert told in said and str(network) in said and "Traceback" not in said, said
    assert not (tmp_path / "out").exists()


def test_a_task_of_labels_is_refused_because_of_the_prompts(
    networks: dict[str, Path], synthetic_odir: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    line = [word.replace("data=idrid", "data=odir") for word in words(networks["clip"], synthetic_odir)]
    assert command(*line, "prompts=dr_grades") == 2
    assert "task odir has labels, of which it may have several" in capsys.readouterr().err


def test_without_checkpoint_and_prompts_it_says_what_is_needed(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evaluate", "data=idrid") == 2
    assert "ckpt= is needed and was not given" in capsys.readouterr().err
