"""A checkpoint is what was written, and its weights are numbers; a flipped byte, wherever it is, is found."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from retinai.encoders.checkpoint_content import HASH, add_hash, content_hash, take_hash
from retinai.encoders.checkpoint_io import AtomicCheckpointIO
from retinai.encoders.weights import load_weights, read_checkpoint
from retinai.errors import CheckpointError

CONTENT: dict[str, Any] = {
    "retinai": {"calibration": {"temperature": 1.5}},
    "state_dict": {"w": torch.arange(6.0).view(2, 3), "half": torch.ones(3, dtype=torch.bfloat16)},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 3)}}, "empty": ()}],
    "flags": torch.tensor([True, False]), "epoch": 2, "nothing": None,
}  # fmt: skip


def readers(path: Path) -> list[Any]:
    return [lambda: AtomicCheckpointIO().load_checkpoint(path), lambda: read_checkpoint(path)]


def test_the_hash_is_of_the_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    for read in readers(path):
        found = read()
        assert HASH not in found and content_hash(found) == content_hash(CONTENT)
    assert add_hash(add_hash(CONTENT)) == add_hash(CONTENT)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 3},
        {"epoch": 2.0},
        {"epoch": "2"},
        {"nothing": False},
        {"state_dict": {**CONTENT["state_dict"], "w": CONTENT["state_dict"]["w"].view(3, 2)}},
        {"state_dict": {**CONTENT["state_dict"], "w": -CONTENT["state_dict"]["w"]}},
        {"state_dict": {**CONTENT["state_dict"], "w": CONTENT["state_dict"]["w"].double()}},
        {"state_dict": {"v": CONTENT["state_dict"]["w"], "half": CONTENT["state_dict"]["half"]}},
        {"optimizer_states": []},
        {"more": 1},
    ],
    ids=["int", "float", "text", "None", "shape", "sign", "type", "key", "list", "more"],
)
def test_whatever_changes_changes_the_hash(change: dict[str, Any]) -> None:
    assert content_hash({**CONTENT, **change}) != content_hash(CONTENT)
    with pytest.raises(CheckpointError, match=r"a\.ckpt is damaged: its content is not what was written"):
        take_hash({**add_hash(CONTENT), **change}, "a.ckpt")


def test_flipped_bytes_of_tensors_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        stored = [archive.read(name) for name in archive.namelist() if "/data/" in name]
    places = [data.index(values) for values in stored if len(values) >= 24]
    assert places
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        torch.load(path)  # PyTorch itself finds nothing
        for read in readers(path):
            with pytest.raises(CheckpointError, match="not what was written"):
                read()


def test_a_checkpoint_without_a_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    torch.save(CONTENT, path)
    for read in readers(path):
        with pytest.raises(CheckpointError, match=r"old\.ckpt holds no SHA-256"):
            read()
    torch.save([1], path)
    for read in readers(path):
        with pytest.raises(CheckpointError, match="holds a list"):
            read()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("state", ["state_dict", "current_model_state"])
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path, state: str, value: float) -> None:
    path = tmp_path / "diverged.ckpt"
    weights = {"w": torch.zeros(3), "bad": torch.tensor([0.0, value]), "steps": torch.tensor(3)}
    AtomicCheckpointIO().save_checkpoint({**CONTENT, state: weights}, path)
    for read in readers(path):
        with pytest.raises(CheckpointError, match=r"no finite numbers \(first 'bad'\).*lower optimizer.lr"):
            read()


def test_weights_from_elsewhere_are_refused_too() -> None:
    net = torch.nn.Linear(2, 2)
    state = {"weight": torch.full((2, 2), float("nan")), "bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"file\.pth are no finite numbers \(first 'weight'\)"):
        load_weights(net, state, source="file.pth")
