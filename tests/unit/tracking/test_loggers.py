"""Loggers other than W&B, by what stands in their files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK
from tensorboardX.proto.event_pb2 import Event

from retinai.tracking.loggers import log_evaluation, make_logger


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What a folder of TensorBoard holds: records of a length, its checksum, an event, its checksum."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            place += length + 16
    return found


def test_tensorboard_gets_curves_and_the_test_of_a_run(
    synthetic_aptos: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    words = [
        "data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=2",
        "logger=tensorboard", f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    found = scalars(tmp_path / "run" / "tensorboard")
    assert len(found["val/qwk"]) == len(found["train/loss"]) == 2
    assert {"test/qwk", "test/qwk_low", "test/accuracy"} <= set(found)


@pytest.mark.parametrize("name", ["csv", "none"])
def test_no_service_is_no_logger(tmp_path: Path, name: str) -> None:
    assert make_logger({"name": name}, tmp_path, {}) is None
    log_evaluation(None, None, {})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
