"""What is read out of one upload: prepared pixels for the network, and a small picture to show."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from retinai.app.outlines import Place, place_of_square
from retinai.data.loading.fields import SampleField
from retinai.data.photographs.dicom import DicomFacts, dicom_facts, is_dicom
from retinai.data.photographs.images import BadImageError
from retinai.data.photographs.original import Copy, Original
from retinai.data.photographs.prepared_pixels import prepare_photograph
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
        square: What the network of masks reads, uint8 (S, S, 3); None where the model has none.
        place: Where that square lies on the preview; None without it.
    """

    reading: Reading
    preview: bytes = field(default=b"", repr=False)
    is_retina: bool = True
    quality: Quality | None = None
    eye: str = ""
    patient: str = ""
    square: NDArray[np.uint8] | None = field(default=None, repr=False)
    place: Place | None = None

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
        if self.square is not None and self.place is not None:
            arrays["square"] = self.square
            facts["place"] = list(astuple(self.place))
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
            place = None if facts.get("place") is None else Place(*map(float, facts["place"]))
            eye, patient = str(facts["eye"]), str(facts["patient"])
            return cls(reading, preview, is_retina, quality, eye, patient, arrays.get("square"), place)


def read_upload(
    data: bytes, preprocessing: Preprocessing, fields: Sequence[SampleField], masks: Preprocessing | None = None
) -> Upload:
    """Read an upload; whatever is wrong with it is a reason.

    Args:
        data: The bytes of the file.
        preprocessing: How a photograph becomes the network's input.
        fields: What the network reads beside it.
        masks: How it becomes the input of the network of masks; None where the model has none.
    """
    original = Original(data, "upload")
    preview = b""
    try:
        copy = original.copy_for(preprocessing)
        preview = _preview(copy)
        reading = Reading(0, *read_original(original, preprocessing, fields))
        quality = judge(copy.pixels, copy.field_of_view)
        said = dicom_facts(data) if is_dicom(data) else DicomFacts("", "")
        square, place = (None, None) if masks is None else _square(original, masks)
        return Upload(reading, preview, True, quality, said.eye, said.patient, square, place)
    except BadImageError as error:
        return Upload(Reading(0, None, reason=error.reason), preview, error.reason != NOT_A_RETINA)


def _square(original: Original, masks: Preprocessing) -> tuple[NDArray[np.uint8], Place]:
    copy = original.copy_for(masks)
    return prepare_photograph(copy.pixels, masks, copy.found_for(masks)), place_of_square(copy, masks)


def _preview(copy: Copy) -> bytes:
    left, top, width, height = copy.field_of_view.box
    shown = copy.pixels[top : top + height, left : left + width]
    scale = PREVIEW_SIDE / max(width, height)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", shown[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
