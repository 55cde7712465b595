"""What is read out of one upload: prepared pixels for the network, and a small picture to show."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np

from retinai.data.loading.fields import SampleField
from retinai.data.photographs.dicom import DicomFacts, dicom_facts, is_dicom
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Copy, Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.photographs.retina import NOT_A_RETINA
from retinai.prediction.reading import Reading, read_original
from retinai.quality import Quality, judge

PREVIEW_SIDE = 640  # pixels of the longer side
_JPEG_QUALITY = 85


@dataclass(frozen=True, eq=False)
class Upload:
    """An upload as it was read.

    Args:
        reading: What the network sees of it, or why it sees nothing.
        preview: The field of view as a JPEG without metadata; empty where nothing could be decoded.
        is_retina: Whether a field of view was found.
        quality: The verdict on it; None where there is nothing to judge.
        eye: `right` or `left` where the file says which, as DICOM files do; else empty.
        patient: SHA-256 of the patient's ID where the file says it; else empty.
    """

    reading: Reading
    preview: bytes = field(default=b"", repr=False)
    is_retina: bool = True
    quality: Quality | None = None
    eye: str = ""
    patient: str = ""

    def to_bytes(self) -> bytes:
        """Return it as bytes that hold arrays and texts alone: who reads them need not trust who wrote them."""
        reading = self.reading
        facts = {"reason": reading.reason, "is_retina": self.is_retina, "values": sorted(reading.values)}
        facts |= {"eye": self.eye, "patient": self.patient}
        facts["quality"] = None if self.quality is None else asdict(self.quality)
        arrays = {f"value_{name}": np.asarray(value) for name, value in reading.values.items()}
        if reading.pixels is not None:
            arrays["pixels"] = reading.pixels
        arrays["preview"] = np.frombuffer(self.preview, np.uint8)
        stream = io.BytesIO()
        np.savez(stream, facts=np.array(json.dumps(facts)), allow_pickle=False, **arrays)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Upload:
        """Return what `to_bytes` wrote.

        Raises:
            ValueError, KeyError, OSError: If it is something else.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            values = {name: arrays[f"value_{name}"] for name in facts["values"]}
            pixels = arrays.get("pixels")
            reading = Reading(0, pixels, values, str(facts["reason"]))
            quality = None if facts["quality"] is None else Quality(**facts["quality"])
            preview, is_retina = arrays["preview"].tobytes(), bool(facts["is_retina"])
            return cls(reading, preview, is_retina, quality, str(facts["eye"]), str(facts["patient"]))


def read_upload(data: bytes, preprocessing: Preprocessing, fields: Sequence[SampleField]) -> Upload:
    """Read an upload; whatever is wrong with it is a reason.

    Args:
        data: The bytes of the file.
        preprocessing: How a photograph becomes the network's input.
        fields: What the network reads beside it.
    """
    original = Original(data, "upload")
    preview = b""
    try:
        copy = original.copy_for(preprocessing)
        preview = _preview(copy)
        reading = Reading(0, *read_original(original, preprocessing, fields))
        quality = judge(copy.pixels, copy.field_of_view)
        said = dicom_facts(data) if is_dicom(data) else DicomFacts("", "")
        return Upload(reading, preview, True, quality, said.eye, said.patient)
    except BadImageError as error:
        return Upload(Reading(0, None, reason=error.reason), preview, error.reason != NOT_A_RETINA)


def _preview(copy: Copy) -> bytes:
    left, top, width, height = copy.field_of_view.box
    shown = copy.pixels[top : top + height, left : left + width]
    scale = PREVIEW_SIDE / max(width, height)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", shown[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
