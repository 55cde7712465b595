"""DICOM photographs are read as the same pixels in a usual file; what names a patient stays in them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, OphthalmicPhotography8BitImageStorage, RLELossless

from retinai.data.photographs.dicom import dicom_facts
from retinai.data.photographs.images import BadImageError, decode_photograph, read_header
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing

PATIENT, NAME = "ID-4711", "Doe^Jane"


def disc(side: int = 96) -> np.ndarray:
    y, x = np.mgrid[:side, : side + 32]
    pixels = np.zeros((side, side + 32, 3), np.uint8)
    inside = (y - side // 2) ** 2 + (x - side // 2 - 16) ** 2 < (side * 0.45) ** 2
    pixels[inside] = np.stack([120 + x, 60 + y // 2, 30 + x // 8], axis=2)[inside]
    return pixels


def write(pixels: np.ndarray, syntax: Any = ExplicitVRLittleEndian, **tags: Any) -> bytes:
    """Return a DICOM file of the kind that fundus cameras write."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = OphthalmicPhotography8BitImageStorage, "1.2.3"
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = OphthalmicPhotography8BitImageStorage, "1.2.3", "OP"
    dataset.PatientID, dataset.PatientName, dataset.ImageLaterality = PATIENT, NAME, "L"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape[:2], 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration, dataset.PixelRepresentation = 0, 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = pixels.tobytes()
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData, dataset.PhotometricInterpretation = encapsulate([jpeg(pixels)]), "YBR_FULL_422"
    for name, value in tags.items():
        setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=["plain", "rle"])
def test_pixels_are_those_that_were_written(syntax: Any) -> None:
    assert np.array_equal(decode_photograph(write(disc(), syntax), "x.dcm"), disc())


def test_a_jpeg_inside_is_decoded_as_one(tmp_path: Path) -> None:
    large = disc(1100)
    data, plain = write(large, JPEGBaseline8Bit), jpeg(large)
    assert read_header(data, "x").reducible  # at a fraction of its size, as any JPEG
    preprocessing = Preprocessing(64, (0.5,) * 3, (0.5,) * 3)
    prepared = [Original(each, "x").prepared(preprocessing) for each in (data, plain)]
    assert np.array_equal(*prepared)


def test_deep_and_grey_pixels_are_scaled() -> None:
    grey = disc()[:, :, 0]
    assert np.array_equal(decode_photograph(write(grey), "x")[:, :, 1], grey)
    deep = (disc().astype(np.uint16) << 8) + 7
    assert np.array_equal(decode_photograph(write(deep), "x"), disc())


def test_patient_and_eye_are_told_without_the_name() -> None:
    facts = dicom_facts(write(disc()))
    assert facts.eye == "left" and len(facts.patient) == 64 and PATIENT not in facts.patient
    assert dicom_facts(write(disc(), PatientID="", ImageLaterality="")).patient == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write(disc())[:-3000], "damaged DICOM"),
        (bytes(128) + b"DICM" + b"broken" * 20, "DICOM"),
        (write(disc(), NumberOfFrames=3), "3 frames"),
        (write(disc(), Rows=60000, Columns=60000), "decompression bomb"),
        (write(disc(), JPEGBaseline8Bit)[:-1500], "without a whole photograph"),
    ],
    ids=["cut", "broken", "frames", "bomb", "jpeg"],
)
def test_what_cannot_be_read_has_a_reason_without_values_of_the_file(
    data: bytes, reason: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(BadImageError) as caught:
        decode_photograph(data, "x.dcm")
    assert reason in caught.value.reason
    said = caplog.text + "".join(capfd.readouterr()) + str(caught.value)
    assert PATIENT not in said and "Doe" not in said


def test_a_folder_of_dicom_files_is_graded_like_the_photographs_in_them(
    tiny_export: Path, synthetic_aptos: Path, command: Callable[..., int], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    files = sorted((synthetic_aptos / "train_images").glob("*.png"))[:3]
    (tmp_path / "dicom").mkdir()
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        (tmp_path / "dicom" / f"{file.stem}.dcm").write_bytes(write(pixels, OtherPatientNames=NAME))
    for name, images in (("dicom", tmp_path / "dicom"), ("png", synthetic_aptos / "train_images")):
        assert command("predict", f"model={tiny_export}", f"images={images}", f"out={tmp_path / name}.csv") == 0
    expected = pd.read_csv(tmp_path / "png.csv", dtype={"id": str}).set_index("id")
    found = pd.read_csv(tmp_path / "dicom.csv", dtype={"id": str}).set_index("id")
    assert len(found) == 3 and found["error"].isna().all()
    columns = [name for name in found if name.startswith("p_")]
    np.testing.assert_allclose(found[columns], expected.loc[found.index, columns], atol=1e-6)
    said = "".join(capfd.readouterr()) + (tmp_path / "dicom.csv").read_text()
    assert PATIENT not in said and "Doe" not in said


def test_pydicom_reads_what_the_tests_write() -> None:
    assert pydicom.dcmread(io.BytesIO(write(disc()))).PatientName == NAME
