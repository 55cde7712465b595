"""A base network is told from another one by the values in its files, on every machine alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_llava import SETTINGS

from retinai.errors import CheckpointError, UserError
from retinai.llava.fingerprint import check_fingerprint, fingerprint, sample, weight_files
from retinai.llava.loading import load_llava

WEIGHTS = {"language.weight": torch.arange(600.0).view(20, 30), "projector.bias": torch.ones(3, dtype=torch.bfloat16)}


def folder_with(place: Path, weights: dict[str, torch.Tensor], parts: int = 1, kind: str = "model.safetensors") -> str:
    """Write weights as transformers does, whole or in parts with an index."""
    place.mkdir()
    names = sorted(weights)
    stem, _, suffix = kind.partition(".")
    index = {}
    for part in range(parts):
        chosen = {name: weights[name] for name in names[part::parts]}
        file = kind if parts == 1 else f"{stem}-{part + 1:05}-of-{parts:05}.{suffix}"
        index |= dict.fromkeys(chosen, file)
        torch.save(chosen, place / file) if suffix == "bin" else save_file(chosen, place / file)
    if parts > 1:
        (place / f"{kind}.index.json").write_text(json.dumps({"weight_map": index}))
    return str(place)


@pytest.mark.parametrize("length", [22_544_384, 2**24 + 1, 2**24, 65, 64, 63, 2, 1])
def test_a_sample_reaches_from_the_first_value_to_the_last(length: int) -> None:
    # 22,544,384 bytes are the 4-bit weights of one of LLaVA-1.5-7B's layers, 4096 x 11008 / 2.
    tensor = torch.zeros(length, 1, dtype=torch.uint8)
    tensor[-1], tensor[0] = 9, 7
    found = sample(tensor)
    assert len(found) == min(64, length)
    assert found[-1] == (9 if length > 1 else 7) and found[0] == 7
    assert len(sample(tensor[:0])) == 0


def test_places_are_evenly_spaced_above_2_to_the_24() -> None:
    tensor = torch.arange(3 * 2**24, dtype=torch.int32)
    gaps = sample(tensor).diff()
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("parts", "kind"), [(1, "model.safetensors"), (2, "model.safetensors"), (1, "pytorch_model.bin")]
)
def test_the_files_form_does_not_matter(tmp_path: Path, parts: int, kind: str) -> None:
    whole = fingerprint(folder_with(tmp_path / "whole", WEIGHTS))
    assert fingerprint(folder_with(tmp_path / "other", WEIGHTS, parts, kind)) == whole


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({}, False),
        ({"language.weight": WEIGHTS["language.weight"] + 1}, True),
        ({"language.weight": WEIGHTS["language.weight"].view(30, 20)}, True),
        ({"language.weight": WEIGHTS["language.weight"].half()}, True),
        ({"more": torch.ones(1)}, True),
    ],
    ids=["same", "values", "shape", "type", "names"],
)
def test_what_tells_two_networks_apart(tmp_path: Path, change: dict[str, torch.Tensor], is_another: bool) -> None:
    one = fingerprint(folder_with(tmp_path / "one", WEIGHTS))
    other = fingerprint(folder_with(tmp_path / "other", WEIGHTS | change))
    assert (one != other) is is_another
    if is_another:
        with pytest.raises(CheckpointError, match="another base network"):
            check_fingerprint(one, other, "llava_tiny")


def test_a_folder_without_weights_and_a_broken_index_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no weights"):
        weight_files(tmp_path)
    for text in ("[]", "{", '{"weight_map": 3}'):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(UserError, match=r"index\.json cannot be read"):
            weight_files(tmp_path)


def test_quantising_threads_and_a_second_build_change_nothing() -> None:
    threads = torch.get_num_threads()
    found = set()
    try:
        for number, four_bits in ((1, False), (1, True), (2, True)):
            torch.set_num_threads(number)
            found.add(load_llava(SETTINGS, four_bits=four_bits).fingerprint)
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
