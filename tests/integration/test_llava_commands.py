"""LLaVA through the public commands: two phases, evaluation, prediction, export that plain transformers loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

QUICK = [
    "model=llava", "backbone=llava_tiny", "trainer=cpu", "logger=none", "data.limit=5", "data.num_workers=0",
    "data.batch_size=5", "trainer.max_epochs=1", "trainer.accumulate_grad_batches=1", "optimizer.lr=1e-3",
    "model.max_answer_tokens=6", "model.gradient_checkpointing=false", "tuning.rank=4",
]  # fmt: skip

# What a user of the exported folder writes; retinai must not be needed for it.
PLAIN = """
import json, sys
import torch
from PIL import Image
from transformers import AutoProcessor, BitsAndBytesConfig, GenerationConfig, LlavaForConditionalGeneration

folder, photograph, out, merged = sys.argv[1:5]
if merged == "merged":
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
else:
    from peft import PeftModel
    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "model.vision_tower", "model.multi_modal_projector"])
    base = LlavaForConditionalGeneration.from_pretrained(
        f"{folder}/base", dtype=torch.bfloat16, quantization_config=bits)
    model = PeftModel.from_pretrained(base, folder)
model.eval()
processor = AutoProcessor.from_pretrained(folder)
settings = json.load(open(f"{folder}/grading.json"))
image = Image.open(photograph)
scores = []
with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
    for sentence in settings["grade_sentences"]:
        prompt = processor(images=image, text=settings["prompt"], return_tensors="pt")
        whole = processor(images=image, text=settings["prompt"] + " " + sentence, return_tensors="pt")
        logs = model(**whole).logits[0].float().log_softmax(-1)
        begin, ids = prompt["input_ids"].shape[1], whole["input_ids"][0]
        scores.append(sum(logs[place - 1, ids[place]].item() for place in range(begin, len(ids))))
    text = model.generate(**prompt, generation_config=GenerationConfig.from_pretrained(folder))
json.dump({"probability": torch.tensor(scores).softmax(0).tolist(), "modules": sorted(sys.modules)}, open(out, "w"))
"""


@pytest.fixture(scope="module")
def idrid_run(tmp_path_factory: pytest.TempPathFactory, synthetic_idrid: Path, command: Callable[..., int]) -> Path:
    """Folder of a finished phase 1."""
    outputs = tmp_path_factory.mktemp("llava")
    words = [*QUICK, "phase=warmup", "data=idrid", f"data.root={synthetic_idrid}", f"paths.outputs={outputs}"]
    assert command("train", *words) == 0
    (record,) = outputs.glob("idrid/llava/llava_tiny/*/run.json")
    return record.parent


def test_phase_1_ends_like_any_run(idrid_run: Path) -> None:
    metrics = json.loads((idrid_run / "metrics.json").read_text())
    assert metrics["answers"]["valid"] == 1.0 and metrics["answers"]["findings"] is not None
    predictions = pd.read_csv(idrid_run / "predictions.csv")
    assert predictions["valid"].all() and predictions["answer"].str.startswith("Grade").all()
    assert predictions["true_findings"].notna().any()
    page = (idrid_run / "report.html").read_text()
    assert "got a valid grade" in page and "lesions of the masks" in page
    assert (idrid_run / "checkpoints" / "best.ckpt").stat().st_size < 2_000_000  # not 3.9 million weights


def test_phase_2_goes_on_from_the_newest_phase_1(
    idrid_run: Path, synthetic_aptos: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = idrid_run.parents[3]
    words = [*QUICK, "data=aptos", f"data.root={synthetic_aptos}", f"paths.outputs={outputs}", "+init=idrid_ckpt"]
    assert command("train", *words) == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "start weights: adapters and projector of" in printed and idrid_run.name in printed
    assert command("train", *words, "tuning.rank=2") == 2
    assert "rank 4 there, 2 here" in capsys.readouterr().err


def test_evaluate_and_predict_take_it_like_any_checkpoint(
    idrid_run: Path, synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    checkpoint = f"ckpt={idrid_run / 'checkpoints' / 'best.ckpt'}"
    words = [f"run_dir={tmp_path / 'free'}", "split=val", "grading=generate", "accelerator=cpu"]
    assert command("evaluate", checkpoint, *words) == 0
    free = json.loads((tmp_path / "free" / "metrics.json").read_text())["answers"]
    table = pd.read_csv(tmp_path / "free" / "predictions.csv")
    assert free["valid"] == pytest.approx(table["valid"].mean()) and free["exact"] is not None
    images = synthetic_idrid / "B. Disease Grading" / "1. Original Images" / "b. Testing Set" / "IDRiD_00*.jpg"
    assert command("predict", checkpoint, f"images={images}", f"out={tmp_path / 'grades.csv'}", "accelerator=cpu") == 0
    grades = pd.read_csv(tmp_path / "grades.csv")
    chances = grades.filter(like="p_").to_numpy()
    assert len(grades) == 9 and np.allclose(chances.sum(axis=1), 1) and grades["answer"].str.startswith("Grade").all()


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_the_exported_folder_needs_no_retinai(
    form: str, idrid_run: Path, synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    checkpoint = idrid_run / "checkpoints" / "best.ckpt"
    folder = tmp_path / "folder"
    merge = [] if form == "adapter" else ["merge=true"]
    assert command("export", f"ckpt={checkpoint}", "format=hf", f"out={folder}", *merge) == 0
    card = (folder / "README.md").read_text()
    assert "not for diagnosis" in card and ("PeftModel" in card) == (form == "adapter")
    expected, photograph = _graded(checkpoint, synthetic_idrid, tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN)
    line = [sys.executable, "plain.py", folder, photograph, tmp_path / "out.json", form]
    done = subprocess.run([str(w) for w in line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert not any(name.startswith("retinai") for name in found["modules"])
    # Merged weights are those before the quantisation to 4 bits, so they grade a little differently.
    np.testing.assert_allclose(found["probability"], expected, atol=0.02 if form == "adapter" else 0.25)


def _graded(checkpoint: Path, root: Path, folder: Path) -> tuple[list[float], Path]:
    """Return the probabilities that retinai gives to a photograph, and the photograph as its network sees it."""
    import torch

    from retinai.data.photographs.images import read_photograph
    from retinai.data.photographs.normalise import normalise
    from retinai.data.photographs.prepared_pixels import prepare_photograph
    from retinai.modules.load import load_module

    module = load_module(checkpoint)
    original = next(root.glob("B. Disease Grading/1. Original Images/b. Testing Set/*.jpg"))
    prepared = prepare_photograph(read_photograph(original), module.preprocessing)
    Image.fromarray(prepared).save(folder / "prepared.png")
    images = torch.from_numpy(normalise(prepared[None], module.preprocessing))
    with torch.no_grad():
        return module.predict_probabilities(images)[0].tolist(), folder / "prepared.png"


def test_an_answer_beyond_the_context_is_told_before_the_first_step(
    synthetic_aptos: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "aptos.jsonl"
    assert command("prepare", "format=llava_jsonl", "data=aptos", f"data.root={synthetic_aptos}", f"out={lines}") == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    long = next(row for row in rows if row["split"] == "train")
    long["conversations"][1]["value"] += " microaneurysms" * 2000
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [word for word in QUICK if not word.startswith("data.limit")]
    assert command("train", *words, "data=llava_jsonl", f"data.jsonl={lines}", f"run_dir={tmp_path / 'run'}") == 2
    told = capsys.readouterr().err
    assert f"photograph {long['id']}: the conversation" in told and "holds 1024" in told


def test_a_large_network_without_a_gpu_is_told_before_any_data_is_read(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert command("train", "model=llava", "data=idrid", f"data.root={tmp_path / 'nowhere'}") == 2
    told = capsys.readouterr().err
    assert "needs a CUDA GPU with some 12 GiB" in told and "backbone=llava_tiny" in told
