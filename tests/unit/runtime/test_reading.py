"""Reading for the runtime: the pixels of training, reasons instead of faults, a few photographs at a time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.retina import NOT_A_RETINA
from retinai.prediction.reading import Reading, read_one
from retinai.runtime.exported_model import _batches
from retinai.runtime.reading import read_all
from retinai.topology.field import TopologyField
from retinai.topology.persistence import TopologySettings, persistence_images

PREPROCESSING = Preprocessing(48, (0.5,) * 3, (0.5,) * 3)


def test_pixels_and_topology_are_those_of_training(synthetic_aptos: Path, tmp_path: Path) -> None:
    good = sorted((synthetic_aptos / "train_images").glob("*.png"))[:3]
    spot = np.zeros((200, 300, 3), np.uint8)
    spot[20:40, 30:60] = 220
    cv2.imwrite(str(tmp_path / "spot.png"), spot)
    (tmp_path / "empty.jpg").touch()
    files = [str(path) for path in (*good, tmp_path / "spot.png", tmp_path / "empty.jpg", tmp_path / "none.png")]
    topology = TopologyField(TopologySettings(size=48))
    for workers in (0, 1):  # in this process and in another
        found = sorted(read_all(PREPROCESSING, [topology], files, workers, None), key=lambda reading: reading.index)
        assert [reading.reason for reading in found] == ["", "", "", NOT_A_RETINA, "empty file", "no such file"]
        for path, reading in zip(good, found, strict=False):
            expected = prepare_photograph(read_photograph(path), PREPROCESSING)
            np.testing.assert_array_equal(reading.pixels, expected)
            np.testing.assert_array_equal(reading.values["topology"], persistence_images(expected, topology.settings))
    assert read_one(PREPROCESSING, (), (7, spot)).reason == NOT_A_RETINA
    in_memory = read_one(PREPROCESSING, (), (0, read_photograph(good[0])))
    np.testing.assert_array_equal(in_memory.pixels, found[0].pixels)


def test_no_more_is_read_than_the_next_batch_needs() -> None:
    read = 0
    reasons = [""] * 100

    def readings():
        nonlocal read
        for index in range(100):
            read += 1
            bad = index % 10 == 3
            yield Reading(index, None if bad else np.zeros((2, 2, 3), np.uint8), reason="broken" if bad else "")

    batches = _batches(readings(), 8, reasons)
    first = next(batches)
    assert len(first) == 8 and read == 9
    assert [r.index for batch in (first, *batches) for r in batch] == [i for i in range(100) if i % 10 != 3]
    assert [i for i, reason in enumerate(reasons) if reason] == list(range(3, 100, 10))
