"""Maps as part of the loss: gradients against finite differences, signs, and what stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from module_factory import make_classifier, section

from retinai.errors import ConfigError, UserError
from retinai.guidance.terms import EntropyGuidance, LesionGuidance, RegionGuidance, VesselGuidance, entropy
from retinai.modules.classifier import Classifier
from retinai.modules.training_terms import watching
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

SIZE = 64


def guided(guidance: dict[str, Any] | None, backbone: str = "resnet18", **changes: Any) -> Classifier:
    arguments = changes.pop("arguments", None)
    more = {} if arguments is None else {"arguments": arguments}
    torch.manual_seed(0)
    made = make_classifier(
        changes.pop("task", DR_GRADE),
        backbone=section("backbone", backbone, weights="none", input_size=SIZE, **more),
        preprocessing={"input_size": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3},
        terms={"guidance": guidance},
        dropout=0.0,
        **changes,
    )
    made.log = lambda *words, **options: None  # type: ignore[method-assign] # no trainer is attached
    with torch.no_grad():  # a fresh head is nearly even, and its maps nearly nothing
        made.network.head.weight.mul_(30)
    return made.train()


def batch(count: int = 4, multilabel: bool = False) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 5
    target = torch.eye(3)[torch.arange(count) % 3] if multilabel else labels
    mask = torch.zeros(count, 5, SIZE, SIZE)
    mask[:, 0, :32, :32] = 1
    vessels = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    vessels[:, :32, :32], vessels[:, 32:, 32:] = 1, 2
    return {
        "id": [str(i) for i in range(count)],
        "image": torch.randn(count, 3, SIZE, SIZE, generator=draw),
        "target": target,
        "mask": mask,
        "has_mask": torch.tensor([True] * (count - 1) + [False]),
        "vessels": vessels,
    }


def value(module: Classifier, given: dict[str, Any], name: str = "guidance") -> torch.Tensor:
    with watching(module.terms, module) as seen:
        logits = module(*module.network_inputs(given))
    return module.terms["guidance"].values(module, seen["guidance"], logits, given)[name]


ENTROPY, VESSELS, LESIONS = (
    {"_target_": f"retinai.guidance.terms.{kind}", "name": name, "weight": 1.0}
    for kind, name in (("EntropyGuidance", "entropy"), ("VesselGuidance", "vessels"), ("LesionGuidance", "lesions"))
)


@pytest.mark.parametrize("guidance", [ENTROPY, VESSELS, LESIONS], ids=lambda g: g["name"])
def test_the_gradient_equals_finite_differences(guidance: dict[str, Any]) -> None:
    module = guided(guidance)
    value(module, batch())  # finds the layer, in single precision
    module.double()
    given = {k: v.double() if k in ("image", "mask") else v for k, v in batch().items()}
    weights = [module.network.head.weight, module.network.encoder.net.layer4[1].conv2.weight]
    gradients = torch.autograd.grad(value(module, given), weights)
    draw = torch.Generator().manual_seed(2)
    for weight, gradient in zip(weights, gradients, strict=True):
        way = torch.randn(weight.shape, generator=draw, dtype=torch.float64)
        way /= way.norm()
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.add_(step * way)
            ends.append(value(module, given).item())
            with torch.no_grad():
                weight.sub_(step * way)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((gradient * way).sum()), rel=1e-3, abs=1e-8)


@pytest.mark.parametrize(
    ("guidance", "name", "way"),
    [(ENTROPY, "guidance", -1), (VESSELS | {"region": "veins"}, "map_share", 1)],
    ids=["entropy", "veins"],
)
def test_the_sign_of_the_weight_says_where_maps_go(guidance: dict[str, Any], name: str, way: int) -> None:
    """Entropy falls with a positive weight, the share on the veins rises."""
    given, ends = batch(), {}
    for weight in (3.0, -3.0):
        module = guided(guidance | {"weight": weight})
        optimiser = torch.optim.SGD(module.parameters(), lr=0.003)
        start = value(module, given, name).item()
        for _ in range(8):
            optimiser.zero_grad()
            module.training_step(given, 0).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
            optimiser.step()
        ends[weight] = value(module, given, name).item() - start
    assert ends[3.0] * way > 0.01 and ends[-3.0] * way < -0.01


def test_a_weight_of_zero_trains_bit_by_bit_as_none_and_batch_norm_sees_each_batch_once() -> None:
    states = []
    for guidance in (None, {"name": "none"}, ENTROPY | {"weight": 0.0}, LESIONS | {"weight": 0.0}, ENTROPY):
        module = guided(guidance)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
        for _ in range(2):
            optimiser.zero_grad()
            module.training_step(batch(), 0).backward()
            optimiser.step()
        states.append(module.state_dict())
    for other in states[1:4]:
        assert all(torch.equal(other[key], states[0][key]) for key in states[0])
    assert not all(torch.equal(states[4][key], states[0][key]) for key in states[0])
    counted = [value for key, value in states[4].items() if key.endswith("num_batches_tracked")]
    assert counted and all(int(count) == 2 for count in counted)


def test_regions_on_maps_that_are_known() -> None:
    """A map of four cells: half of it in the first cell, which the region covers wholly; the last is half covered."""

    class Known(RegionGuidance):
        def maps(self, module: Any, seen: Any, logits: Any, batch: Any) -> Any:
            cells = torch.tensor([[[0.5, 0.25], [0.0, 0.25]]]).repeat(2, 1, 1)
            return cells, torch.tensor([True, False, True])

        def regions(self, batch: Any) -> torch.Tensor:
            found = torch.zeros(3, 8, 8, dtype=torch.bool)
            found[:2, :4, :4] = found[:2, 4:, 4:6] = True  # the third photograph has no region
            return found

    found = Known("known", 1.0).values(None, None, torch.zeros(3, 5), {})
    assert float(found["map_share"]) == pytest.approx(0.5 + 0.125)
    assert float(found["guidance"]) == pytest.approx(-np.log(0.625), abs=1e-5)
    assert float(found["maps_used"]) == pytest.approx(1 / 3)
    expected = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25)) / np.log(4)
    assert float(found["map_entropy"]) == pytest.approx(expected, abs=1e-4)
    even = entropy(torch.full((1, 4, 4), 1 / 16))
    assert float(even) == pytest.approx(1, abs=1e-3) and float(entropy(torch.eye(16).view(16, 4, 4)[:1])) < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": section("loss", "corn")},
        {"task": ODIR_COURSE},
        {"tuning": section("tuning", "head")},
        {"backbone": "vit_small", "arguments": {"depth": 2, "embed_dim": 48, "num_heads": 3, "patch_size": 16}},
        {"backbone": "swin_tiny",
         "arguments": {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4}},
        {"attention": section("attention", "cbam")},
    ],
    ids=["ordered", "labels", "frozen", "vit", "swin", "cbam"],
)  # fmt: skip
def test_it_reaches_the_weights_of_any_network_and_loss(changes: dict[str, Any]) -> None:
    module = guided(ENTROPY, **changes)
    given = batch(multilabel=changes.get("task") is ODIR_COURSE)
    modes = {name: part.training for name, part in module.named_modules()}
    found = value(module, given)
    assert 0 < float(found) <= 1.001
    trained = [p for p in module.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(found, trained, allow_unused=True)
    assert any(g is not None and bool((g != 0).any()) for g in gradients)
    assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients)
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert all(not part._forward_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EntropyGuidance(weight=float("nan")), "no finite number"),
        (lambda: VesselGuidance(region="disc"), "valid: vessels, arteries, veins"),
        (lambda: VesselGuidance(region="veins", method="sato"), "does not tell veins apart"),
        (lambda: LesionGuidance(kinds=["drusen"]), "guidance.kinds: drusen"),
        (lambda: guided(ENTROPY, consistency={"name": "rotation"}), "do not go together"),
    ],
)
def test_settings_that_make_no_sense(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_a_network_with_a_map_of_one_cell_is_refused_before_training() -> None:
    module = make_classifier(terms={"guidance": ENTROPY})  # 32 pixels
    with pytest.raises(UserError, match="too coarse"):
        module.terms["guidance"].prepare(module, None)  # type: ignore[arg-type]
