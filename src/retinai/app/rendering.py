"""Results as HTML, in the language of the reader; everything that is filled in is escaped."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.app.results import EYES, EyeResult, Reason, most_urgent
from retinai.app.texts import Texts

if TYPE_CHECKING:
    from jinja2 import Environment

    from retinai.app.service import Service

_FOLDER = Path(__file__).parent / "templates"
_SHORT = 12  # characters of a SHA-256 that are shown
# Values of a reason that are names of classes.
_CLASSES = ("grade", "grades")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader

    return Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def stylesheet() -> str:
    """Return the CSS of page and print-out."""
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


def guide(t: Texts, megabytes: int, keeps: bool) -> str:
    """Return the instructions.

    Args:
        t: The language.
        megabytes: Of the largest upload.
        keeps: Whether this machine keeps photographs.
    """
    lines = t.lines("instructions", megabytes=megabytes, kept=t("kept") if keeps else "")
    return _environment().get_template("guide.html.j2").render(t=t, instructions=lines)


def meaning(t: Texts, classes: Sequence[str]) -> str:
    """Return what the grades of a model mean; those that the texts do not know are only named."""
    pairs = [(t.class_name(name), t.meaning(name)) for name in classes]
    known = all(told for _, told in pairs)
    return _environment().get_template("meaning.html.j2").render(t=t, classes=pairs, known=known)


def results(found: Sequence[EyeResult], service: Service, t: Texts) -> str:
    """Return the results of one patient.

    Args:
        found: One per eye.
        service: What graded them.
        t: The language.
    """
    return _environment().get_template("result.html.j2").render(**_content(found, service, t))


def printed(found: Sequence[EyeResult], service: Service, t: Texts) -> str:
    """Return a whole HTML page to print; whose eyes they are is written into it by the browser alone.

    Args:
        found: One result per eye.
        service: What graded them.
        t: The language.
    """
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    content = _content(found, service, t) | {"time": now, "css": stylesheet()}
    return _environment().get_template("printed.html.j2").render(**content)


def worklist(rows: Sequence[Mapping[str, Any]], summary: str, service: Service, t: Texts) -> str:
    """Return a whole HTML page of many photographs.

    Args:
        rows: What the template shows of each.
        summary: How many there are of each kind.
        service: What graded them.
        t: The language.
    """
    facts = service.model.folder.facts
    model = t("model", name=facts.get("backbone", ""), digest=service.digest[:_SHORT])
    page = _environment().get_template("worklist.html.j2")
    return page.render(t=t, rows=rows, summary=summary, model=model, css=stylesheet())


def reason_text(reason: Reason, t: Texts) -> str:
    """Return a reason in words."""
    values = {key: class_names(value, t) if key in _CLASSES else value for key, value in reason.values.items()}
    if "eye" in values:
        values["eye"] = eye_name(str(values["eye"]), t)
    if "fault" in values:
        values["fault"] = t(f"fault.{values['fault']}")
    return t(f"why.{reason.key}", **values)


def eye_name(eye: str, t: Texts) -> str:
    """Return what an eye is called."""
    return t(eye) if eye in EYES else t("unknown_eye")


def _content(found: Sequence[EyeResult], service: Service, t: Texts) -> dict[str, Any]:
    return {"t": t, "eyes": [_eye(result, service, t) for result in found], "patient": _patient(found, service, t)}


def _eye(result: EyeResult, service: Service, t: Texts) -> dict[str, Any]:
    bars = [
        {"name": t.class_name(name), "value": value, "decided": name in result.classes}
        for name, value in result.probabilities.items()
    ]
    return {
        "name": eye_name(result.eye, t),
        "picture": inline(result.preview),
        "heat": inline(result.heat),
        "outlines": [
            {"key": name, "name": t.mask_name(name), "regions": regions} for name, regions in result.outlines.items()
        ],
        "action": result.action,
        "grade": class_names(result.classes, t),
        "reasons": [reason_text(reason, t) for reason in result.reasons],
        "bars": bars,
        "set": _set(result, service, t),
        "photograph": result.photograph,
    }


def inline(jpeg: bytes) -> str:
    """Return a picture as an address that holds it; empty where there is none."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""


def _set(result: EyeResult, service: Service, t: Texts) -> str:
    if service.sets is None:
        return t("no_set")
    return t("set", level=f"{100 * service.sets['level']:.0f}", grades=class_names(result.possible, t))


def _patient(found: Sequence[EyeResult], service: Service, t: Texts) -> dict[str, Any]:
    decisive = most_urgent(found)
    guideline, advice = service.guideline, ""
    if guideline is not None and decisive.action in ("refer", "routine"):
        graded = [guideline.grades[name] for result in found for name in result.classes]
        advice = max(graded, key=lambda one: one.urgency).texts[t.code] if graded else ""
    facts = service.model.folder.facts
    return {
        "action": t(f"action.{decisive.action}"),
        "advice": advice,
        "no_guideline": guideline is None,
        "source": "" if guideline is None else t("advice_source", source=guideline.source),
        "words": [line for result in found for line in _words(result, t)],
        "model": t("model", name=facts.get("backbone", ""), digest=service.digest[:_SHORT]),
    }


def _words(result: EyeResult, t: Texts) -> list[str]:
    """Return the result of an eye as sentences."""
    name = eye_name(result.eye, t)
    if not result.graded:
        return [t("text_none", eye=name, reason=" ".join(reason_text(reason, t) for reason in result.reasons))]
    lines = []
    for decided in result.classes:
        percent = f"{100 * result.probabilities[decided]:.0f}"
        line = t("text", eye=name, grade=t.class_name(decided), percent=percent)
        others = {key: value for key, value in result.probabilities.items() if key not in result.classes}
        if len(result.classes) == 1 and others:
            second = max(others, key=lambda key: others[key])
            line += " " + t("text_other", grade=t.class_name(second), percent=f"{100 * others[second]:.0f}")
        told = t.meaning(decided)
        lines.append(line + (" " + t("text_meaning", meaning=told) if told else ""))
    return lines


def class_names(value: Any, t: Texts) -> str:
    """Return the names of one class, or of several with commas between them."""
    return ", ".join(t.class_name(str(name)) for name in ([value] if isinstance(value, str) else value))
