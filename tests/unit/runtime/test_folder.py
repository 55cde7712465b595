"""A folder is used as it was exported, or refused with the name of the file that is not as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retinai.errors import UserError
from retinai.runtime.folder import FORMAT, hash_file, manifest_digest, read_folder
from retinai.tasks.known import DR_GRADE


def make_folder(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "network.onnx").write_bytes(b"a network")
    facts = {
        "format": FORMAT, "engine": "onnx", "precision": "fp32", "network": "network.onnx", "task": DR_GRADE.to_dict(),
        "preprocessing": {"input_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}, "decision_rule": "argmax",
        "fields": [], "calibration": None, "files": {"network.onnx": hash_file(folder / "network.onnx")},
        "inputs": {"photograph": {"type": "uint8", "shape": ["batch", 32, 32, 3]}},
        "outputs": {"probability": {"type": "float32", "shape": ["batch", 5]}},
    } | changes  # fmt: skip
    (folder / "model.json").write_text(json.dumps(facts | {"sha256": manifest_digest(facts)}))
    return folder


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    found = read_folder(make_folder(tmp_path / "m", calibration={"temperature": 1.5, "scaling": "softmax"}))
    assert found.task == DR_GRADE and found.preprocessing.input_size == 32 and found.fields == ()
    assert found.calibration == {"temperature": 1.5, "scaling": "softmax"}


def test_whatever_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    changed = make_folder(tmp_path / "changed")
    (changed / "network.onnx").write_bytes(b"another network")
    missing = make_folder(tmp_path / "missing")
    (missing / "network.onnx").unlink()
    edited = make_folder(tmp_path / "edited")
    text = (edited / "model.json").read_text().replace('"moderate"', '"mild_too"')
    (edited / "model.json").write_text(text)
    torn = make_folder(tmp_path / "torn")
    (torn / "model.json").write_text(text[:50])
    (tmp_path / "empty").mkdir()
    cases = [
        (changed, "network.onnx was changed after the export"),
        (missing, "network.onnx is missing"),
        (edited, "model.json was changed after the export"),
        (torn, "cannot be read"),
        (tmp_path / "empty", "holds no model.json"),
        (tmp_path / "nowhere", "no such folder"),
        (make_folder(tmp_path / "newer", format=FORMAT + 1), f"format {FORMAT + 1}"),
        (make_folder(tmp_path / "engine", engine="tensorrt"), "cannot be used"),
        (make_folder(tmp_path / "outside", network="../x.onnx"), "cannot be used"),
    ]
    for folder, part in cases:
        with pytest.raises(UserError, match=part) as caught:
            read_folder(folder)
        assert "\n" not in str(caught.value)


def test_the_runtime_imports_nothing_of_training() -> None:
    code = """
import sys
import retinai.runtime, retinai.runtime.engines, retinai.cli, retinai.commands.predict, retinai.config.compose
import retinai.prediction.layouts, onnxruntime, openvino
heavy = {"torch", "lightning", "timm", "sklearn", "matplotlib", "scipy", "albumentations", "transformers", "wandb"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
