"""A second phase starts from the first one's weights, or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_network import SMALL_NETWORK

TINY = [
    *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1",
    "data.num_workers=0", "logger=none", "test=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    outputs = tmp_path_factory.mktemp("phases")
    return [f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}"]


def folder_of(printed: str) -> Path:
    return Path(printed.split("run folder: ")[-1].split("\n")[0].strip())


def test_idrid_then_aptos(
    places: list[str],
    synthetic_idrid: Path,
    synthetic_aptos: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    aptos = [
        "data=aptos",
        f"data.root={synthetic_aptos}",
        "optimizer.lr=1e-12",
        "optimizer.weight_decay=0",
        *TINY,
        *places,
    ]
    assert command("train", "+init=idrid_ckpt", *aptos) == 2
    message = capsys.readouterr().err
    assert "finds no finished run" in message
    assert "data=idrid phase=warmup" in message

    idrid = ["data=idrid", f"data.root={synthetic_idrid}", "phase=warmup", *TINY, *places]
    assert command("train", *idrid) == 0
    first = folder_of(capsys.readouterr().out)
    assert json.loads((first / "run.json").read_text())["phase"] == "warmup"

    assert command("train", "+init=idrid_ckpt", *aptos) == 0
    printed = capsys.readouterr()
    assert str(first) in printed.err
    second = folder_of(printed.out)
    states = [torch.load(f / "checkpoints" / "best.ckpt")["state_dict"] for f in (first, second)]
    # With next to no learning rate the second phase ends with the weights that it took over.
    for key in ("network.encoder.net.layer4.0.conv2.weight", "network.head.weight"):
        assert states[0][key].abs().max() > 1e-3
        assert torch.allclose(states[0][key], states[1][key], rtol=0, atol=1e-8)


def test_another_backbone_is_refused(
    tiny_checkpoint: Path,
    places: list[str],
    synthetic_aptos: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["data=aptos", f"data.root={synthetic_aptos}", *TINY, *places, "+init=ckpt", f"init.path={tiny_checkpoint}"]
    assert command("train", *words, "backbone=efficientnet_b0") == 2
    assert "'resnet18'" in capsys.readouterr().err


def test_another_task_keeps_the_body_and_starts_a_fresh_head(
    tiny_checkpoint: Path,
    places: list[str],
    synthetic_idrid: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["data=idrid", f"data.root={synthetic_idrid}", "data.target=dme", *TINY, *places]
    assert command("train", *words, "+init=ckpt", f"init.path={tiny_checkpoint}") == 0
    assert "the head starts fresh (dr_grade to dme_risk)" in capsys.readouterr().err
