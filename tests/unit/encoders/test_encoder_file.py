"""A pre-trained encoder's file: whole, of one network, and it says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from module_factory import section
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from retinai.encoders.encoder import Encoder, build_encoder
from retinai.encoders.encoder_file import read_provenance, write_encoder_file
from retinai.encoders.registry import seen_before, weight_notes
from retinai.errors import CheckpointError

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}


def encoder(side: int = 64, **changes: Any) -> Encoder:
    return build_encoder(
        section("backbone", "vit_tiny", **({"weights": "none", "input_size": side, "arguments": SMALL} | changes))
    )


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Encoder]:
    own = encoder()
    write_encoder_file(
        tmp_path / "encoder.safetensors", own.net, version="1", method="token_reconstruction", backbone="vit_tiny",
        architecture=own.net.pretrained_cfg["architecture"], start="none (fresh)", start_sha256="0" * 64,
        photographs={"idrid": 351}, split={"folds": "5", "fold": "0", "split_seed": "0", "split_file": None}, epochs=2,
        score=0.5, preprocessing=own.preprocessing.to_dict(), rights=["X is under Y, which forbids Z"], seen=["odir"],
    )  # fmt: skip
    return tmp_path / "encoder.safetensors", own


def rewritten(file: Path, change: Any) -> Path:
    with safe_open(file, framework="pt") as opened:
        facts = json.loads(opened.metadata()["retinai"])
    state = load_file(file)
    change(state, facts)
    save_file(state, file, metadata={"retinai": json.dumps(facts)})
    return file


def test_its_encoder_says_the_same_and_tells_where_it_comes_from(written: tuple[Path, Encoder]) -> None:
    file, own = written
    images = torch.randn(2, 3, 64, 64)
    loaded = encoder(weights=str(file))
    with torch.no_grad():
        assert torch.equal(loaded.eval().embed(images), own.eval().embed(images))
    assert "token_reconstruction of vit_tiny on the training photographs of idrid (351)" in str(loaded.load_report)
    assert loaded.load_report is not None and not loaded.load_report.ignored and not loaded.load_report.missing
    notes = weight_notes({"name": "vit_tiny", "weights": str(file)}, "idrid")
    assert "X is under Y, which forbids Z" in notes
    assert any("data.folds=5, data.fold=0, data.split_seed=0" in note for note in notes)
    assert not any("pre-training of" in note for note in weight_notes({"name": "vit_tiny", "weights": str(file)}))
    assert seen_before({"name": "vit_tiny", "weights": str(file)}) == ["idrid", "odir"]


def test_positions_are_resampled_for_another_size(written: tuple[Path, Encoder]) -> None:
    report = encoder(side=96, weights=str(written[0])).load_report
    assert report is not None and list(report.resized) == ["pos_embed"]


def test_a_file_of_another_writer_has_no_provenance(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert read_provenance(tmp_path / "other.safetensors") is None
    assert read_provenance("none") is None


def changed_value(state: dict[str, Any], facts: dict[str, Any]) -> None:
    state["norm.weight"][0] += 1


def one_less(state: dict[str, Any], facts: dict[str, Any]) -> None:
    state.pop("norm.weight")


def other_network(state: dict[str, Any], facts: dict[str, Any]) -> None:
    facts["architecture"] = "vit_large_patch16_224"


def odd_word(state: dict[str, Any], facts: dict[str, Any]) -> None:
    facts["photographs"] = {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (changed_value, "changed or damaged"),
        (one_less, "changed or damaged"),
        (other_network, "is an encoder of vit_large_patch16_224"),
        (odd_word, "does not say where it comes from"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_what_is_not_as_written_is_refused(written: tuple[Path, Encoder], change: Any, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        encoder(weights=str(rewritten(written[0], change)))


def test_a_provenance_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "deep.safetensors", metadata={"retinai": "[" * 100_000})
    with pytest.raises(CheckpointError, match="does not say where it comes from"):
        read_provenance(tmp_path / "deep.safetensors")
