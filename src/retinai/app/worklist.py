"""A folder of photographs as a list, those that are to be seen first at its top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from retinai.app import rendering
from retinai.app.results import ACTIONS, EyeResult, Reason
from retinai.app.service import Service
from retinai.app.texts import Texts
from retinai.data.photographs.images import BadImageError, read_bytes
from retinai.prediction.photographs import Photographs

_THUMBNAIL = 200  # pixels
_SHORT = 12


@dataclass(frozen=True, eq=False)
class Entry:
    """One photograph of the list.

    Args:
        name: Of the photograph.
        path: Its file.
        result: What was found.
    """

    name: str
    path: str
    result: EyeResult


def grade_all(service: Service, photographs: Photographs) -> list[Entry]:
    """Return the photographs with what was found, the most urgent first.

    All photographs of a patient (by DICOM files) stand together, at the place of the most urgent of them. Within one
    kind of action a worse grade comes first, then a higher expected grade.

    Args:
        service: Grades them.
        photographs: Their names and files.
    """
    from rich.console import Console
    from rich.progress import track

    entries = []
    pairs = list(zip(photographs.ids, photographs.paths, strict=True))
    for name, path in track(pairs, description="grading", console=Console(stderr=True)):
        entries.append(Entry(name, path, _grade(service, path)))
    classes = service.model.task.classes
    best: dict[str, tuple[float, ...]] = {}
    for entry in entries:
        key = _patient(entry)
        best[key] = min(best.get(key, (np.inf,)), _urgency(entry.result, classes))
    return sorted(entries, key=lambda e: (best[_patient(e)], _patient(e), _urgency(e.result, classes)))


def to_table(entries: Sequence[Entry], classes: Sequence[str]) -> pd.DataFrame:
    """Return the list as a table, in its order.

    Columns: `id`, `path`, `patient`, `eye`, `action`, `prediction`, `p_<class>` per class, `set`, `quality`.

    Args:
        entries: Of `grade_all`.
        classes: Of the model.
    """
    rows = [
        {
            "id": entry.name, "path": entry.path, "patient": entry.result.patient, "eye": entry.result.eye,
            "action": entry.result.action, "prediction": "|".join(entry.result.classes),
            **{f"p_{name}": entry.result.probabilities.get(name, np.nan) for name in classes},
            "set": "|".join(entry.result.possible), "quality": entry.result.quality,
        }
        for entry in entries
    ]  # fmt: skip
    table = pd.DataFrame(rows, dtype=object)  # Arrow holds no lone surrogates
    return table.astype({f"p_{name}": float for name in classes})


def to_page(entries: Sequence[Entry], service: Service, t: Texts) -> str:
    """Return the list as an HTML page that holds all it shows.

    Args:
        entries: Of `grade_all`.
        service: What graded them.
        t: The language.
    """
    rows = [_row(entry, t) for entry in entries]
    counts = {action: sum(entry.result.action == action for entry in entries) for action in ACTIONS}
    summary = ", ".join(f"{t(f'action.{action}')}: {count}" for action, count in counts.items() if count)
    return rendering.worklist(rows, summary, service, t)


def _grade(service: Service, path: str) -> EyeResult:
    try:
        data = read_bytes(path)
    except BadImageError as error:
        reason = Reason("unreadable", {"reason": error.reason})
        return EyeResult("", "", (), {}, "recheck", (reason,), 0)
    return service.grade(data, "", "", "worklist")


def _patient(entry: Entry) -> str:
    return entry.result.patient or entry.path


def _urgency(result: EyeResult, classes: Sequence[str]) -> tuple[float, ...]:
    grade = max((classes.index(name) for name in result.classes), default=-1)
    expected = sum(classes.index(name) * value for name, value in result.probabilities.items())
    return ACTIONS.index(result.action), -grade, -expected


def _row(entry: Entry, t: Texts) -> dict[str, object]:
    result = entry.result
    return {
        "action": result.action,
        "picture": rendering.inline(_thumbnail(result.preview)),
        "name": Path(entry.path).name,
        "patient": result.patient[:_SHORT],
        "eye": rendering.eye_name(result.eye, t) if result.eye else "",
        "told": t(f"action.{result.action}"),
        "reasons": [rendering.reason_text(reason, t) for reason in result.reasons],
        "grade": rendering.class_names(result.classes, t),
        "set": rendering.class_names(result.possible, t) if len(result.possible) > 1 else "",
    }


def _thumbnail(preview: bytes) -> bytes:
    """Return a smaller copy of a picture that this program wrote itself."""
    if not preview:
        return b""
    pixels = cv2.imdecode(np.frombuffer(preview, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # it was written by `upload.py`
    scale = _THUMBNAIL / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return cv2.imencode(".jpg", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))[1].tobytes()
