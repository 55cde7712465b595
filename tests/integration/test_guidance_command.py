"""`guidance=`: trained by the command, resumed, evaluated, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_network import SMALL_NETWORK


@pytest.fixture(scope="module")
def words(synthetic_idrid: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("guided") / "cache"
    return [
        "data=idrid", f"data.root={synthetic_idrid}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=64", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        "test=false", f"paths.cache={cache}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("guidance", "logged"),
    [
        (["guidance=entropy"], {"train/guidance", "train/maps_used"}),
        (["guidance=vessels", "guidance.method=sato", "guidance.weight=-0.1"], {"train/guidance", "train/map_share"}),
        (["guidance=lesions"], {"train/guidance", "train/map_share", "train/map_entropy"}),
    ],
    ids=["entropy", "vessels", "lesions"],
)
def test_it_trains_and_its_checkpoint_stands_alone(
    guidance: list[str], logged: set[str], words: list[str], command: Callable[..., int], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert command("train", *words, *guidance, f"run_dir={run}") == 0
    table = pd.read_csv(run / "metrics.csv")
    assert logged <= set(table.columns) and table["train/guidance"].notna().any()
    checkpoint = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    assert command("evaluate", checkpoint, words[-1], f"run_dir={tmp_path / 'out'}", "accelerator=cpu") == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["guidance=entropy", "backbone.input_size=32"], "too coarse"),
        (["guidance=entropy", "consistency=rotation"], "do not go together"),
        (["guidance=vessels", "paths.weights=/nowhere"], "lwnet"),
        (["guidance=vessels", "paths.weights=/nowhere"], "or do without weights: guidance.method=sato"),
        (["guidance=vessels", "guidance.method=folder"], "guidance.masks= names the folder of guidance.method=folder"),
        (["guidance=vessels", "guidance.masks=/nowhere"], "guidance.masks= names the folder of guidance.method=folder"),
        (["guidance=vessels", "guidance.method=folder", "guidance.masks=/nowhere"], "guidance.masks=/nowhere is no"),
        (["guidance=vessels", "guidance.method=sato", "guidance.region=veins"], "does not tell veins apart"),
        (["guidance=lesions", "guidance.kinds=[drusen]"], "guidance.kinds"),
        (["guidance=lesions", "guidance.weight=much"], "guidance.weight"),
        (["guidance=sharp"], "valid"),
        (["guidance=entropy", "guidance.sharpness=1"], "sharpness"),
    ],
)
def test_the_users_faults_leave_nothing_behind(
    more: list[str], said: str, words: list[str], command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("train", *words, *more, f"run_dir={tmp_path / 'run'}") == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_lesions_need_masks(
    synthetic_aptos: Path, words: list[str], command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ["data=aptos", f"data.root={synthetic_aptos}", "guidance=lesions", f"run_dir={tmp_path / 'run'}"]
    assert command("train", *more, *words[2:]) == 2
    assert "needs lesion masks" in capsys.readouterr().err and not (tmp_path / "run").exists()
