"""Several answers of one network: flips and dropped units, beside plain torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from module_factory import SIZE, make_classifier, section
from torch import nn

from retinai.ensembles.module import EnsembleGrader
from retinai.ensembles.passes import Passes, dropout_layers, thinned
from retinai.modules.classifier import Classifier
from retinai.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def module() -> Classifier:
    """A network of many different answers, with dropout before its head."""
    backbone = section("backbone", "resnet18", weights="none", architecture="test_resnet", input_size=SIZE)
    made = make_classifier(backbone=backbone, dropout=0.4).eval()
    with torch.no_grad():
        made.network.head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def asked(module: Classifier, images: torch.Tensor, batch: int = 6, **words: Any) -> dict[str, np.ndarray]:
    """What an ensemble of one says."""
    names = [str(number) for number in range(len(images))]
    batches = [
        {"image": images[start : start + batch], "id": names[start : start + batch]}
        for start in range(0, len(images), batch)
    ]
    results = Predictor(EnsembleGrader.of([module], Passes(**words)), "cpu", progress=False).run(batches)
    return {name: results[name] for name in ("probability", "entropy", "mutual_information")}


def check(found: dict[str, np.ndarray], each: torch.Tensor) -> None:
    """Compare with answers, (answers, B, C), by scipy's entropy."""
    values = each.double().numpy()
    whole = scipy.stats.entropy(values.mean(axis=0), axis=1)
    np.testing.assert_allclose(found["probability"], values.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found["entropy"], whole, atol=1e-5)
    own = scipy.stats.entropy(values, axis=2).mean(axis=0)
    np.testing.assert_allclose(found["mutual_information"], whole - own, atol=1e-5)


@torch.no_grad()
def test_flips_are_those_of_torch(module: Classifier, images: torch.Tensor) -> None:
    views = [images, images.flip(3), images.flip(2), torch.rot90(images, 2, (2, 3))]
    each = torch.stack([torch.softmax(module.network(view), dim=1) for view in views])
    check(asked(module, images, views="flips"), each)
    check(asked(module, images, views="one"), each[:1])
    assert not module.test_time_flips


@torch.no_grad()
def test_flips_that_belong_to_the_checkpoint_are_one_answer_unless_asked_for(images: torch.Tensor) -> None:
    backbone = section("backbone", "resnet18", weights="none", architecture="test_resnet", input_size=SIZE)
    own = make_classifier(backbone=backbone, test_time_flips=True).eval()
    single = own.predict_probabilities(images)
    found = asked(own, images, dropout_samples=0)
    np.testing.assert_allclose(found["probability"], single, atol=1e-6)
    np.testing.assert_allclose(asked(own, images, views="flips")["probability"], single, atol=1e-6)
    assert np.all(found["mutual_information"] == 0) and own.test_time_flips


@torch.no_grad()
def test_dropped_units_by_hand(module: Classifier, images: torch.Tensor) -> None:
    features, head = module.network.pooled(images), module.network.head
    dropped: list[torch.Tensor] = []
    handle = module.network.head.register_forward_pre_hook(lambda _, values: dropped.append(values[0]))
    found = asked(module, images, dropout_samples=7, seed=3)
    handle.remove()
    assert len(dropped) == 7
    kept = [(inputs != 0).any(dim=0) for inputs in dropped]
    by_hand = [torch.softmax((features * mask / 0.6) @ head.weight.T + head.bias, dim=1) for mask in kept]
    check(found, torch.stack(by_hand))
    assert (found["mutual_information"] > 1e-3).all()
    assert len({tuple(mask.tolist()) for mask in kept}) == 7


def test_units_are_dropped_as_often_and_scaled_as_torch_does(module: Classifier, images: torch.Tensor) -> None:
    layer, values = module.network.dropout, torch.ones(1, 512)
    ours = []
    for number in range(400):
        with thinned(module.network, 0, number):
            ours.append(layer(values))
    theirs = nn.functional.dropout(values.expand(400, -1), layer.p, training=True)
    assert set(torch.cat(ours).unique().tolist()) == set(theirs.unique().tolist())
    assert torch.cat(ours).mean() == pytest.approx(1, abs=0.01) and torch.equal(layer(values), values)


def test_a_seed_repeats_whatever_else_is_in_the_batch(module: Classifier, images: torch.Tensor) -> None:
    first = asked(module, images, dropout_samples=4)
    np.testing.assert_allclose(
        first["probability"], asked(module, images, 1, dropout_samples=4)["probability"], atol=1e-6
    )
    other = asked(module, images, dropout_samples=4, seed=1)
    assert np.abs(first["probability"] - other["probability"]).max() > 1e-3


@torch.no_grad()
def test_dropout_inside_the_encoder_is_computed_anew_each_time(images: torch.Tensor) -> None:
    backbone = section("backbone", "resnet18", weights="none", architecture="test_resnet", input_size=SIZE)
    deep = make_classifier(backbone=backbone, dropout=0.0).eval()
    deep.network.head.weight.normal_(0, 1)
    deep.network.encoder.more = nn.Dropout2d(0.5)
    plain = deep.network.encoder.forward
    deep.network.encoder.forward = lambda seen, *rest: plain(deep.network.encoder.more(seen), *rest)
    assert list(dropout_layers(deep.network)) == ["encoder.more"]
    assert (asked(deep, images, dropout_samples=4)["mutual_information"] > 1e-4).all()
