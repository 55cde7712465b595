"""Both eyes by one encoder: pairs in tables and folders, missing eyes, and what order changes and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_trees import PREPROCESSING, write_image

from retinai.data.loading.fields import FieldSample
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.attention import AttentionSettings
from retinai.encoders.timm_encoder import TimmEncoder
from retinai.two_eyes.field import OtherEyeField, other_eyes, sibling
from retinai.two_eyes.network import TwoEyesClassifier


@pytest.fixture
def network() -> TwoEyesClassifier:
    torch.manual_seed(0)
    network = TwoEyesClassifier(TimmEncoder("test", "test_resnet", input_size=32), AttentionSettings(), 3)
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.normal_(network.missing)
    return network.eval()


def photographs(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def table(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "patient", "eye", "split"])
    return frame.assign(path=[f"/{name}.jpg" for name in frame["id"]])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", "1", "left", "train"), ("b", "1", "right", "train")], {"a": "/b.jpg", "b": "/a.jpg"}),
        ([("a", "1", "left", "train"), ("b", "2", "right", "train")], {}),
        ([("a", "1", "left", "train"), ("b", "1", "right", "test")], {}),  # no photograph of another part
        ([("a", "1", "left", "train"), ("b", "1", "left", "train")], {}),
        ([("a", "1", "", "train"), ("b", "1", "", "train")], {}),
        ([("a", "", "left", "train"), ("b", "", "right", "train")], {}),
        # Of several photographs of the other eye the first.
        (
            [("a", "1", "left", "val"), ("b", "1", "right", "val"), ("c", "1", "right", "val")],
            {"a": "/b.jpg", "b": "/a.jpg", "c": "/a.jpg"},
        ),
    ],
)
def test_pairs_of_a_table(rows: list[tuple[str, str, str, str]], expected: dict[str, str]) -> None:
    assert other_eyes(table(rows)) == expected


def test_loose_files_are_paired_by_their_names(tmp_path: Path) -> None:
    left, right = (write_image(tmp_path / f"7_{eye}.png", number) for number, eye in enumerate(("left", "right")))
    alone = write_image(tmp_path / "8_left.png", 3)
    other = write_image(tmp_path / "left.png", 4)
    found = [sibling(str(path)) for path in (left, right, alone, other)]
    assert found == [str(right), str(left), None, None]
    preprocessing = Preprocessing.from_dict(PREPROCESSING)
    field = OtherEyeField(preprocessing)
    values = [field.load(FieldSample(str(p), str(p), preprocessing)) for p in (left, alone)]
    batch = field.collate(values)
    seen = FieldSample("x", str(right), preprocessing).photograph
    np.testing.assert_array_equal(batch[0], normalise(seen[None], preprocessing)[0])
    assert np.isnan(batch[1]).all() and batch.shape == (2, 3, 32, 32)
    right.write_bytes(b"no photograph")
    assert field.load(FieldSample(str(left), str(left), preprocessing)) is None


def test_logits_are_those_of_the_features_side_by_side(network: TwoEyesClassifier) -> None:
    one, two = photographs(4), photographs(4, seed=1)
    two[2] = torch.nan
    with torch.no_grad():
        own, other = network.encoder(one), network.encoder(torch.nan_to_num(two))
        other[2] = network.missing
        expected = torch.cat([own, other], dim=1) @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(one, two), expected)
        assert not torch.allclose(network(one, two), network(two.nan_to_num(), one))  # which eye is asked about counts


def test_a_missing_eye_changes_no_other_row_and_a_batch_may_lack_them_all(network: TwoEyesClassifier) -> None:
    one, two = photographs(3), photographs(3, seed=1)
    lacking = two.clone()
    lacking[0] = torch.nan
    with torch.no_grad():
        torch.testing.assert_close(network(one, two)[1:], network(one, lacking)[1:])
        alone = network(one, torch.full_like(two, torch.nan))
        assert alone.isfinite().all()
        torch.testing.assert_close(alone[:1], network(one, lacking)[:1])


def test_both_eyes_train_the_one_encoder(network: TwoEyesClassifier) -> None:
    """No weight of the encoder is there twice, and each eye alone teaches it; a missing eye's vector learns too."""
    encoder = sum(p.numel() for p in network.encoder.parameters())
    width = network.encoder.num_features
    assert sum(p.numel() for p in network.parameters()) == encoder + 3 * (2 * width + 1) + width
    one, two = photographs(4), photographs(4, seed=1)
    two[3] = torch.nan
    weights = network.head.weight.data.clone()
    for hidden in (slice(0, width), slice(width, 2 * width)):
        network.zero_grad()
        network.head.weight.data = weights.clone()
        network.head.weight.data[:, hidden] = 0
        network.train()(one, two).square().sum().backward()
        first = next(network.encoder.parameters()).grad
        assert first is not None and first.abs().sum() > 0
        assert network.missing.grad is not None and bool(network.missing.grad.any()) == (hidden.start == 0)
