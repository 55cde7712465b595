"""DICOM files of cameras (Ophthalmic Photography): the one photograph in them, as the bytes of a usual image.

What names a patient stays in the file: it stands in no error, no log, and no table but where it is asked for.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

_JPEGS = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}  # baseline and extended: what JPEG decoders read
_EYES = {"R": "right", "L": "left"}
_HEAD = 132  # bytes of preamble and mark


class DicomError(Exception):
    """A DICOM file without one photograph that can be read; its text is a short clause without values of the file."""


@dataclass(frozen=True)
class DicomFacts:
    """What a DICOM file says of its photograph.

    Args:
        patient: SHA-256 of the patient's ID, which tells patients apart without naming them; empty where there is none.
        eye: `right` or `left`; empty where the file does not say.
    """

    patient: str
    eye: str


def is_dicom(data: bytes) -> bool:
    """Return whether bytes are a DICOM file with its usual preamble."""
    return data[128:_HEAD] == b"DICM"


def dicom_facts(data: bytes) -> DicomFacts:
    """Return whose eye a DICOM file shows.

    Args:
        data: The bytes of the file.

    Raises:
        DicomError: If it cannot be read, or pydicom is not installed.
    """
    with _quiet():
        dataset = _read(data, with_pixels=False)
        patient = str(dataset.get("PatientID") or "").strip()
        side = str(dataset.get("ImageLaterality") or dataset.get("Laterality") or "").strip().upper()
    digest = hashlib.sha256(patient.encode()).hexdigest() if patient else ""
    return DicomFacts(digest, _EYES.get(side, ""))


def unpack_dicom(data: bytes, max_pixels: int) -> bytes:
    """Return the photograph of a DICOM file: its JPEG as it is, anything else as a PPM image.

    Args:
        data: The bytes of the file.
        max_pixels: Width times height above which it is refused before it is unpacked.

    Raises:
        DicomError: If there is no photograph in it, or several, or its kind cannot be read.
    """
    with _quiet():
        try:
            dataset = _read(data, with_pixels=True)
            if "PixelData" not in dataset:
                raise DicomError("DICOM file without a whole photograph")
            frames = int(dataset.get("NumberOfFrames") or 1)
            if frames != 1:
                raise DicomError(f"DICOM file of {frames} frames; give single photographs")
            if int(dataset.Rows) * int(dataset.Columns) > max_pixels:
                raise DicomError(f"decompression bomb: more than {max_pixels:,} pixels")
            if dataset.file_meta.TransferSyntaxUID in _JPEGS and int(dataset.BitsAllocated) == 8:
                from pydicom.encaps import generate_frames

                return next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
            return _as_ppm(_pixels(dataset))
        except DicomError:
            raise
        except Exception as error:  # pydicom raises nearly anything on a damaged file, with values of it in the text
            raise DicomError(f"damaged DICOM file, or of a kind that is not read ({type(error).__name__})") from None


def _read(data: bytes, with_pixels: bool) -> Any:
    try:
        import pydicom
    except ModuleNotFoundError:
        raise DicomError('DICOM file, which takes pydicom: pip install "retinai[dicom]"') from None
    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not with_pixels)
    except Exception as error:  # as above: nearly anything
        raise DicomError(f"damaged DICOM file ({type(error).__name__})") from None


def _pixels(dataset: Any) -> np.ndarray:
    """Return pixels, uint8 (H, W, 3), RGB."""
    from pydicom.pixels import apply_color_lut, pixel_array

    kind = str(dataset.PhotometricInterpretation)
    pixels = pixel_array(dataset)  # YBR becomes RGB
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    bits = int(dataset.BitsStored) if kind != "PALETTE COLOR" else 8 * pixels.dtype.itemsize
    if int(dataset.get("PixelRepresentation") or 0) or bits > 16:
        raise DicomError("DICOM file whose pixels have no known scale")
    small = (pixels >> (bits - 8)).astype(np.uint8) if bits > 8 else pixels.astype(np.uint8)
    if kind == "MONOCHROME1":
        small = 255 - small
    return np.repeat(small[:, :, None], 3, axis=2) if small.ndim == 2 else small


def _as_ppm(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    return f"P6 {width} {height} 255\n".encode() + np.ascontiguousarray(pixels).tobytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what pydicom says of odd values, which quotes them, out of logs and terminals."""
    named = logging.getLogger("pydicom")
    former = named.disabled
    named.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        named.disabled = former
