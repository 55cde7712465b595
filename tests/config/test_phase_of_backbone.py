"""What a phase means for one backbone comes after what it means for its model, and before the command line."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from retinai.config.choices import settle
from retinai.config.paths import conf_dir


def composed(*words: str) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", list(words))
    return settle("train", cfg, list(words))[0]


def test_the_small_llava_has_rates_of_its_own() -> None:
    small = composed("model=llava", "backbone=llava_small")
    large = composed("model=llava")
    assert (small.data.batch_size, small.optimizer.lr, small.model.gradient_checkpointing) == (4, 3e-4, False)
    assert (large.data.batch_size, large.optimizer.lr, large.model.gradient_checkpointing) == (1, 2e-5, True)
    assert small.trainer.precision == large.trainer.precision == "bf16-mixed"


def test_the_command_line_stands_above_it() -> None:
    cfg = composed("model=llava", "backbone=llava_small", "optimizer.lr=1e-5", "phase=warmup", "trainer.max_epochs=7")
    assert (cfg.optimizer.lr, cfg.trainer.max_epochs, cfg.data.batch_size) == (1e-5, 7, 4)
