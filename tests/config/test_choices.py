"""What the command line chooses brings its own keys, and an experiment's keys for another choice go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from retinai.config.checks import check
from retinai.config.compose import compose

# Words, and what they must come to: None for a key that must be gone.
CASES: list[tuple[list[str], dict[str, Any]]] = [
    (
        ["+experiment=idrid_baseline", "tuning=full"],
        {"tuning.name": "full", "tuning.blocks": None, "tuning.freeze_norm": True, "trainer.max_epochs": 10},
    ),
    (["+experiment=idrid_baseline", "tuning=head"], {"tuning.blocks": None, "tuning.freeze_norm": None}),
    (
        ["+experiment=idrid_baseline", "tuning=lora"],
        {"tuning.blocks": None, "tuning.freeze_norm": None, "tuning.rank": 8, "tuning.targets": "auto"},
    ),
    (["+experiment=idrid_baseline", "callbacks=default"], {"callbacks.averaging": None}),
    (
        ["+experiment=idrid_baseline", "backbone=resnet18", "optimizer=adam"],
        {"backbone.architecture": "resnet18.a1_in1k", "backbone.input_size": 256, "optimizer.lr": 1e-4},
    ),
    (["+experiment=aptos_teacher", "augment=none"], {"augment.name": "none", "augment.transforms": []}),
    (["+experiment=aptos_teacher", "loss=class_balanced_focal"], {"loss.label_smoothing": None, "loss.gamma": 2.0}),
    (["+experiment=aptos_student", "model=classifier"], {"model.name": "classifier", "model.dropout": 0.5}),
    (
        ["+experiment=idrid_student", "model=distiller", "teacher.ckpt=x.ckpt"],
        {"model.test_time_flips": True, "model.temperature": 4.0, "backbone.input_size": 160},
    ),
    (
        ["+experiment=idrid_baseline", "phase=linear_probe"],
        {"tuning.name": "head", "tuning.blocks": None, "augment.name": "none", "trainer.max_epochs": 25,
         "optimizer.lr": 1e-3, "optimizer.head_lr_multiplier": 10},
    ),
    (
        ["+experiment=idrid_baseline", "phase=linear_probe", "trainer.max_epochs=7", "augment=strong"],
        {"tuning.name": "head", "augment.name": "strong", "trainer.max_epochs": 7, "optimizer.lr": 1e-3},
    ),
    (
        ["+experiment=idrid_baseline", "model=llava", "backbone=llava_tiny"],
        {"backbone.name": "llava_tiny", "tuning.name": "qlora", "tuning.blocks": None, "loss.name": "answer",
         "prompt.name": "default", "model.test_time_flips": None, "data.batch_size": 1, "data.findings": True,
         "optimizer.name": "adamw_8bit", "data.name": "idrid"},
    ),
    (
        ["+experiment=idrid_baseline", "data=aptos", "seed=3"],
        {"data.name": "aptos", "data.batch_size": 16, "seed": 3, "tuning.blocks": 5},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_the_command_line_wins_with_its_own_keys(words: list[str], wanted: dict[str, Any]) -> None:
    cfg = compose("train", words)
    check("train", cfg)
    assert {key: OmegaConf.select(cfg, key) for key in wanted} == wanted


def test_a_key_that_the_command_line_sets_itself_is_not_taken_out() -> None:
    cfg = compose("train", ["+experiment=idrid_baseline", "tuning=full", "tuning.blocks=3"])
    assert cfg.tuning.blocks == 3


def test_an_experiment_alone_stays_as_it_is() -> None:
    cfg = compose("train", ["+experiment=idrid_baseline", "tuning=partial", "seed=1"])
    assert (cfg.tuning.blocks, cfg.tuning.freeze_norm, cfg.callbacks.averaging.decay) == (5, True, 0.95)


def test_what_is_left_out_is_said_and_not_in_the_run(
    synthetic_idrid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retinai.cli import main

    seen: list[Any] = []
    monkeypatch.setattr(
        "retinai.commands.train.run", seen.append
    )  # the command itself, with the configuration that it gets
    words = ["+experiment=idrid_baseline", "tuning=full,head", f"hydra.sweep.dir={tmp_path}"]
    with pytest.raises(SystemExit) as left:
        main(["train", "-m", *words])
    assert left.value.code == 0
    assert [cfg.tuning.name for cfg in seen] == ["full", "head"]
    assert all("blocks" not in cfg.tuning for cfg in seen)
    said = capsys.readouterr().err
    assert "note: tuning=full was chosen instead of the experiment's partial, so its tuning.blocks is left out" in said
    assert "tuning.blocks, tuning.freeze_norm are left out" in said
