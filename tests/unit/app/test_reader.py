"""Uploads are read in other processes; one that hangs or ends costs its own grade alone."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from retinai.app.reader import Readers, TooSlowError
from retinai.app.upload import Upload, read_upload
from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.photographs.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Hanging(SampleField):
    """A field that never comes where the photograph is blue, and ends its process where it is green."""

    name: ClassVar[str] = "hanging"
    shape = (1,)

    def load(self, sample: FieldSample) -> Any:
        blue, green = sample.photograph[16, 16, 2] > 150, sample.photograph[16, 16, 1] > 150
        if green:
            raise SystemExit
        time.sleep(60 if blue else 0)
        return np.array([0.5], np.float32)

    def collate(self, values: Sequence[Any]) -> Any:
        return np.stack(values)


def disc(*colour: int) -> bytes:
    y, x = np.mgrid[:96, :128]
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[(y - 48) ** 2 + (x - 64) ** 2 < 40**2] = colour
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    opened = Readers(PREPROCESSING, [Hanging()], time_limit=5.0, count=1)
    yield opened
    opened.close()


@pytest.mark.parametrize("colour", [(0, 0, 250), (0, 250, 0)], ids=["hangs", "ends"])
def test_a_process_that_hangs_or_ends_is_replaced(readers: Readers, colour: tuple[int, int, int]) -> None:
    with pytest.raises(TooSlowError):
        readers.read(disc(*colour))
    found = readers.read(disc(250, 0, 0))
    assert found.reading.values["hanging"].tolist() == [0.5] and found.reading.pixels is not None


def test_what_comes_back_is_what_was_read(readers: Readers) -> None:
    here, there = read_upload(disc(200, 60, 20), PREPROCESSING, [Hanging()]), readers.read(disc(200, 60, 20))
    assert np.array_equal(here.reading.pixels, there.reading.pixels) and here.preview == there.preview
    shown = np.asarray(Image.open(io.BytesIO(there.preview)))
    assert shown.shape[0] <= 82 and abs(int(shown[40, 40, 0]) - 200) < 12  # cropped to the field of view


def test_a_reason_comes_back_with_what_can_be_shown(readers: Readers) -> None:
    assert readers.read(b"no photograph").reading.reason and not readers.read(b"no photograph").preview
    grey = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 9, np.uint8)).save(grey, "PNG")
    found = readers.read(grey.getvalue())
    assert found.reading.pixels is None and found.reading.reason


def test_nothing_but_arrays_is_taken_from_a_process() -> None:
    import pickle

    with pytest.raises((ValueError, OSError, KeyError)):
        Upload.from_bytes(pickle.dumps(Upload))
