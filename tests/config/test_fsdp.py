"""`trainer=fsdp`: composed, and refused where Lightning could not run it."""

from __future__ import annotations

import lightning
import pytest

from retinai.config.checks import check
from retinai.config.compose import compose
from retinai.config.devices import check_machine
from retinai.errors import ConfigError


def test_it_composes_for_gpus_without_clipping_a_norm() -> None:
    cfg = compose("train", ["trainer=fsdp", "trainer.num_nodes=2"])
    check("train", cfg)
    assert (cfg.trainer.strategy, cfg.trainer.accelerator, cfg.trainer.gradient_clip_val) == ("fsdp", "gpu", None)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.accelerator=cpu"], "trainer.accelerator=cpu has none; several processes on a CPU are trainer=ddp"),
        (["trainer.gradient_clip_val=1.0"], "cannot clip the norm of gradients"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check("train", compose("train", ["trainer=fsdp", *words]))
    check(
        "train",
        compose("train", ["trainer=fsdp", "trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"]),
    )


def test_a_machine_without_gpus_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retinai.config.devices._gpus", lambda: 0)
    with pytest.raises(ConfigError, match="PyTorch finds no such device on this machine"):
        check_machine("train", compose("train", ["trainer=fsdp"]))


def test_it_is_lightning_that_has_none_for_a_cpu() -> None:
    with pytest.raises(ValueError, match="requires a GPU accelerator"):
        lightning.Trainer(strategy="fsdp", accelerator="cpu", devices=2)
