"""Networks in the format of transformers: whatever is wrong with a folder is one reason, and nothing hangs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_llava import write_language

from retinai.encoders.transformers_files import read_part
from retinai.files import UnreadableError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("networks") / "language")


def not_a_number(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = min(tensors)
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def instead_of_weights(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        make(folder / WEIGHTS)

    return change


class Touching:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return Path.touch, (self.place,)


def hostile(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"weight": Touching(folder / "executed")}, folder / "pytorch_model.bin")


def told_in_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | values))

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (not_a_number, "its weights are no finite numbers"),
        (instead_of_weights(os.mkfifo), "model.safetensors is a named pipe, not a file"),
        (instead_of_weights(lambda path: path.symlink_to("/dev/zero")), "model.safetensors is a device, not a file"),
        (instead_of_weights(lambda path: path.write_bytes(b"x" * 500)), "header"),
        (instead_of_weights(lambda path: path.symlink_to("/nowhere")), "model.safetensors"),
        (lambda folder: (folder / CONFIG).write_text("[" * 100_000), ""),
        (lambda folder: (folder / CONFIG).write_text("[]"), ""),
        (lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe"), ""),
        (told_in_config(hidden_size=16), "its weights have other shapes than its config.json says"),
        (told_in_config(model_type="mine", auto_map={"AutoConfig": "mine.Mine"}), "it needs Python code of its own"),
        (hostile, "its weights hold Python objects that could run code"),
        (told_in_config(num_hidden_layers="many"), ""),
    ],
    ids=["NaN", "pipe", "device", "cut", "dangling", "nested", "list", "no text", "shapes", "code", "pickle", "text"],
)
def test_what_cannot_be_read_is_one_reason(
    spoil: Callable[[Path], object], reason: str, language: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(language, tmp_path / "language"))
    assert read_part("AutoModelForCausalLM", folder).config.hidden_size == 32
    spoil(folder)
    with pytest.raises(UnreadableError) as error:
        read_part("AutoModelForCausalLM", folder)
    assert not (folder / "executed").exists()
    assert reason in error.value.reason and 0 < len(error.value.reason) <= 300 and "\n" not in error.value.reason


def test_a_folder_without_a_vocabulary_has_no_tokenizer(language: Path, tmp_path: Path) -> None:
    """Transformers makes one of it all the same, to which every text is the same unknown word."""
    folder = Path(shutil.copytree(language, tmp_path / "language"))
    assert len(read_part("AutoTokenizer", folder)) > 500
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(UnreadableError, match="there is no tokenizer"):
        read_part("AutoTokenizer", folder)
