"""The variational autoencoder against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from module_factory import SIZE, Samples, section

from retinai.errors import ConfigError
from retinai.tasks.known import DR_GRADE, ODIR_8
from retinai.tasks.task import Task
from retinai.vae.module import PhotographVae
from retinai.vae.network import Vae, divergence


def make_vae(task: Task = ODIR_8, **changes: Any) -> PhotographVae:
    values = {
        "task": task.to_dict(),
        "preprocessing": {"input_size": SIZE, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.5]},
        "optimizer": section("optimizer", "adamw"),
        "scheduler": section("scheduler", "onecycle"),
        "latent": 6,
        "widths": [4, 8],
    }
    return PhotographVae(**(values | changes))


def batch(task: Task, n: int = 6) -> dict[str, Any]:
    samples = [Samples(task)[i] for i in range(n)]
    return {key: torch.stack([s[key] for s in samples]) for key in ("image", "target")} | {
        "id": [s["id"] for s in samples]
    }


def test_the_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_the_loss_is_the_negative_evidence_lower_bound_by_hand() -> None:
    module = make_vae(sigma=0.3, beta=2.0).eval()
    logged: dict[str, torch.Tensor] = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, value)  # type: ignore[method-assign]
    given = batch(ODIR_8)
    module.validation_step(given, 0)
    pixels = torch.stack(
        [
            (given["image"][:, c] * s + m)
            for c, (m, s) in enumerate(zip((0.4, 0.5, 0.6), (0.2, 0.25, 0.5), strict=True))
        ],
        1,
    ).clamp(0, 1)
    mean, log_variance = module.network.encode(pixels, given["target"])
    drawn = module.network.decode(mean, given["target"]).detach()
    by_hand = 0.0
    for row in range(len(pixels)):
        error = float(((drawn[row] - pixels[row]) ** 2).sum()) / (2 * 0.3**2)
        by_hand += error + 2.0 * float(divergence(mean, log_variance)[row])
    assert float(logged["val/loss"]) == pytest.approx(by_hand / len(pixels) / pixels[0].numel(), rel=1e-5)


def test_one_photograph_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    net = Vae(16, [16, 32], 8)
    pixels = torch.rand(1, 3, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3).repeat(2, 1, 1, 1)
    nothing, optimizer = pixels.new_zeros(2, 0), torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(150):
        mean, log_variance = net.encode(pixels, nothing)
        drawn = net.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp(), nothing)
        loss = (drawn - pixels).square().sum() / (2 * 0.1**2) + divergence(mean, log_variance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((net.decode(mean, nothing) - pixels).square().mean().sqrt()) < 0.06 < float(pixels.std())


@pytest.mark.parametrize("task", [ODIR_8, DR_GRADE], ids=["labels", "grades"])
def test_a_class_changes_what_is_drawn_and_a_number_is_always_the_same(task: Task) -> None:
    module = make_vae(task).eval()
    first, second = task.classes[:2]
    drawn = module.draw(first, [0, 1, 5], seed=3)
    assert drawn.shape == (3, 3, SIZE, SIZE) and float(drawn.min()) >= 0 and float(drawn.max()) <= 1
    torch.testing.assert_close(module.draw(first, [5], seed=3)[0], drawn[2])
    assert not torch.allclose(module.draw(second, [5], seed=3)[0], drawn[2])
    assert not torch.allclose(module.draw(first, [5], seed=4)[0], drawn[2])


@pytest.mark.parametrize(("task", "only"), [(ODIR_8, "G"), (DR_GRADE, "mild")], ids=["labels", "grades"])
def test_a_class_alone_passes_the_others_over(task: Task, only: str) -> None:
    module = make_vae(task, only=only)
    given = batch(task, 16)
    pixels, conditions = module._wanted(given)
    number = task.classes.index(only)
    wanted = sum(i % task.num_classes == number for i in range(16))
    assert (len(pixels), conditions.shape) == (wanted, (wanted, 0)) and module.labels() == (only,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"only": "Q"}, "model.only=Q is no class of odir: N, D, G"),
        ({"widths": [4] * 6}, "backbone.input_size=32 cannot be halved 6 times; give a multiple of 64"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace(".", r"\.")):
        make_vae(**changes)
