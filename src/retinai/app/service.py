"""Grading uploads one after another: read in another process, graded in turn, written into the record."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from retinai.app.results import EyeResult, Reason, ReferralRule, decide_action, with_distance, with_quality
from retinai.prediction.outside import DISTANCE
from retinai.prediction.photographs import Photographs
from retinai.prediction.table import set_column
from retinai.quality.verdict import NO_RETINA

if TYPE_CHECKING:
    from retinai.app.audit import AuditLog
    from retinai.app.guideline import Guideline
    from retinai.app.reader import Readers
    from retinai.app.upload import Upload
    from retinai.prediction.reading import Reading
    from retinai.runtime import ExportedModel


class Service:
    """Grades uploads; may be called from several threads.

    Args:
        model: The exported folder.
        readers: Processes that read uploads.
        guideline: What is advised; None where none is for the task of the model.
        rule: Who is referred.
        audit: The record; None keeps none.
        max_bytes: A larger upload is not read.
    """

    def __init__(
        self,
        model: ExportedModel,
        readers: Readers,
        guideline: Guideline | None,
        rule: ReferralRule,
        audit: AuditLog | None,
        max_bytes: int,
    ) -> None:
        self.model = model
        self.guideline = guideline
        self.rule = rule
        self.max_bytes = max_bytes
        self.audit = audit
        self._readers = readers
        self._turn = threading.Lock()

    @property
    def digest(self) -> str:
        """SHA-256 of the model's description, which holds those of all its files."""
        return str(self.model.folder.facts["sha256"])

    @property
    def sets(self) -> Mapping[str, Any] | None:
        """Level, quantile and number of photographs of the model's sets of grades; None where it has none."""
        return (self.model.calibration or {}).get("sets")

    @property
    def draws(self) -> bool:
        """Whether the model draws masks."""
        return self.model.folder.masks is not None

    def grade(
        self, data: bytes, eye: str, operator: str, origin: str, explain: bool = False, outline: bool = False
    ) -> EyeResult:
        """Grade one upload; what cannot be graded has its reason in the result.

        Args:
            data: The bytes of the file.
            eye: `right`, `left`, or empty.
            operator: Who asked.
            origin: `page` or `api`.
            explain: Draw what the grade rests on, too.
            outline: Outline what the masks of the model show, where it draws any.

        Raises:
            UserError: If the record cannot be written: then nothing is told that is not in it.
        """
        began = time.perf_counter()
        photograph = hashlib.sha256(data).hexdigest()
        result = self._result(data, eye, photograph, began, explain, outline)
        if self.audit is not None:
            self.audit.write(result, self.digest, operator, origin, data)
        return result

    def close(self) -> None:
        """End the processes that read."""
        self._readers.close()

    def _result(self, data: bytes, eye: str, photograph: str, began: float, explain: bool, outline: bool) -> EyeResult:
        from retinai.app.reader import TooSlowError

        def without(reason: Reason, preview: bytes = b"") -> EyeResult:
            return EyeResult(eye, photograph, (), {}, "recheck", (reason,), _since(began), preview)

        if len(data) > self.max_bytes:
            return without(Reason("too_large", {"megabytes": self.max_bytes // 2**20}))
        if not data:
            return without(Reason("unreadable", {"reason": "empty file"}))
        try:
            upload = self._readers.read(data)
        except TooSlowError:
            return without(Reason("too_slow"))
        if upload.reading.pixels is None:
            known = Reason("unreadable", {"reason": upload.reading.reason})
            return without(known if upload.is_retina else Reason("not_retina"), upload.preview)
        if upload.quality is not None and upload.quality.fault == NO_RETINA:
            return without(Reason("not_retina"), upload.preview)
        found = self._graded(upload, eye, photograph, began)
        if found.graded and outline:
            found = replace(found, outlines=self._outlines(upload), milliseconds=_since(began))
        if found.graded and explain:
            found = replace(found, heat=self._heat(upload.reading), milliseconds=_since(began))
        return found

    def _outlines(self, upload: Upload) -> Mapping[str, tuple[str, ...]]:
        """Return the outlines of the masks; nothing where the model draws none."""
        from retinai.app.outlines import outlines

        facts = self.model.folder.masks
        if facts is None or upload.square is None or upload.place is None:
            return {}
        with self._turn:
            planes = self.model.masks.planes(upload.square)
        return outlines(planes, {name: facts.threshold(name) for name in facts.names}, upload.place)

    def _heat(self, reading: Reading) -> bytes:
        """Return what a grade rests on as a JPEG."""
        from retinai.runtime.occlusion import draw_map, occlusion_map

        assert reading.pixels is not None
        found = occlusion_map(self.model, reading.pixels, reading.values, turn=self._turn)
        return _jpeg(draw_map(reading.pixels, found))

    def _graded(self, upload: Upload, eye: str, photograph: str, began: float) -> EyeResult:
        task = self.model.task
        with self._turn:  # one network, one at a time
            table = self.model.grade_readings(Photographs(["upload"], [""]), [upload.reading])
        row = table.iloc[0]
        if row["error"]:
            reason = Reason("unreadable", {"reason": row["error"]})
            return EyeResult(eye, photograph, (), {}, "recheck", (reason,), _since(began), upload.preview)
        classes = tuple(task.class_names(task.read_csv_labels(table["prediction"].astype(str))[0]))
        probabilities = {name: float(row[f"p_{name}"]) for name in task.classes}
        possible = tuple(str(row[set_column(self.sets)]).split("|")) if self.sets else ()
        distance = float(row[DISTANCE]) if DISTANCE in table else None
        action, reasons = decide_action(classes, possible, probabilities, self.guideline, self.rule)
        action, reasons = with_distance(action, reasons, distance, self.rule)
        action, reasons = with_quality(action, reasons, upload.quality)
        if upload.eye and eye and upload.eye != eye:
            reasons = (Reason("other_eye", {"eye": upload.eye}), *reasons)
        eye = eye or upload.eye
        return EyeResult(
            eye, photograph, classes, probabilities, action, reasons, _since(began), upload.preview, possible,
            "" if upload.quality is None else upload.quality.verdict, upload.patient,
        )  # fmt: skip


def _jpeg(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".jpg", picture[:, :, ::-1])[1].tobytes()


def _since(began: float) -> int:
    return round(1000 * (time.perf_counter() - began))
