"""What `model=lesions` draws, from an exported folder and without PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clinic_environment import make_environment
from small_network import SMALL_NETWORK

from retinai.data.photographs.original import Original
from retinai.errors import UserError
from retinai.lesion_segmentation.reading import read_masks
from retinai.lesions.pixel_metrics import MASK_NAMES
from retinai.modules.load import load_module
from retinai.runtime import ExportedModel
from retinai.runtime.folder import hash_file, manifest_digest

Command = Callable[..., int]


@pytest.fixture(scope="module")
def checkpoint(synthetic_idrid: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lesions")
    words = [
        "data=idrid", f"data.root={synthetic_idrid}", "data.num_workers=0", "data.batch_size=8", *SMALL_NETWORK,
        "backbone.input_size=32", "model=lesions", "model.mask_size=64", "model.crop=32", "trainer=cpu", "test=false",
        "trainer.max_epochs=1", "logger=none", f"paths.cache={place / 'cache'}", f"run_dir={place / 'run'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    return place / "run" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def photograph(synthetic_idrid: Path) -> Path:
    return sorted((synthetic_idrid / "B. Disease Grading/1. Original Images/b. Testing Set").glob("*.jpg"))[0]


def exported(command: Command, checkpoint: Path, out: Path, *more: str) -> Path:
    cache = f"paths.cache={checkpoint.parents[2] / 'cache'}"
    assert command("export", f"ckpt={checkpoint}", f"out={out}", cache, "num_workers=0", *more) == 0
    return out


@pytest.fixture(scope="module")
def folder(checkpoint: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(command, checkpoint, tmp_path_factory.mktemp("exported") / "folder")


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_folder_draws_what_its_checkpoint_draws(
    format: str, checkpoint: Path, folder: Path, photograph: Path, command: Command, tmp_path: Path
) -> None:
    out = folder if format == "onnx" else exported(command, checkpoint, tmp_path / "folder", "format=openvino")
    model, module = ExportedModel(out, threads=1), load_module(checkpoint)
    theirs, ours = model.masks.read(photograph), read_masks(module, Original.read(photograph))
    assert tuple(theirs) == MASK_NAMES
    for name in MASK_NAMES:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-4)
    assert model.folder.masks is not None and dict(model.folder.masks.thresholds) == module.thresholds
    assert model.folder.facts["masks"]["largest_difference"] < 1e-3
    assert "masks.onnx" in (out / "card.md").read_text()


def test_without_torch_masks_are_drawn(folder: Path, photograph: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path, {"runtime"})
    code = (
        "import sys, importlib.util as u; from retinai.runtime import ExportedModel; assert not u.find_spec('torch')\n"
        f"print({{n: m.shape for n, m in ExportedModel({str(folder)!r}).masks.read({str(photograph)!r}).items()}})"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in MASK_NAMES)


def test_folders_that_were_changed_or_draw_nothing_say_so(folder: Path, tiny_export: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="draws no masks"):
        _ = ExportedModel(tiny_export).masks
    changed = tmp_path / "folder"
    shutil.copytree(folder, changed)
    with (changed / "masks.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(UserError, match=r"masks\.onnx was changed"):
        ExportedModel(changed)
    facts = json.loads((folder / "model.json").read_text())
    assert facts["masks"]["names"] == list(MASK_NAMES) and "masks.onnx" in facts["files"]


@pytest.mark.parametrize("content", [b"no graph", None], ids=["no graph", "another network"])
def test_the_page_does_not_start_with_masks_that_cannot_be_drawn(
    content: bytes | None, folder: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "masks.onnx").write_bytes(content or (copy / "network.onnx").read_bytes())
    facts = json.loads((copy / "model.json").read_text())
    facts["files"]["masks.onnx"] = hash_file(copy / "masks.onnx")
    facts["sha256"] = manifest_digest(facts)
    (copy / "model.json").write_text(json.dumps(facts))
    assert command("app", f"model={copy}", "port=0", "audit=null", "threads=1") == 2
    said = capsys.readouterr().err
    assert "masks" in said and "export" in said and "Traceback" not in said
