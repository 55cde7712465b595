"""Conversations as JSON lines, in the form that LLaVA is trained from: one photograph, question and answer per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinai.errors import DataError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular, write_text
from retinai.lesions.findings import Findings
from retinai.llava.text.parsing import parse_grade
from retinai.llava.text.prompts import PromptTemplates
from retinai.tasks.task import Task

IMAGE = "<image>"
SPLITS = ("train", "val", "test")
_EYES = ("left", "right", "")
_SHOWN = 20  # faulty lines that are told one by one


@dataclass(frozen=True)
class Conversation:
    """One line: a photograph, what is asked and what is answered.

    Args:
        id: Name of the photograph.
        path: Its file, absolute.
        grade: Its grade.
        question: The question, without `<image>`.
        answer: The answer.
        split: train, val or test; "" where the line gives none.
        patient: Whose photograph it is; "" where the line does not say.
        eye: left, right or "".
        findings: What the lesion masks say; None without annotation.
        line: Number of the line, from 1.
    """

    id: str
    path: str
    grade: int
    question: str
    answer: str
    split: str = ""
    patient: str = ""
    eye: str = ""
    findings: Findings | None = None
    line: int = 0


def make_conversations(
    rows: Iterable[Mapping[Any, Any]], task: Task, prompts: PromptTemplates, findings: Mapping[str, Findings]
) -> list[Conversation]:
    """Return the conversation of each labelled photograph.

    Args:
        rows: Rows of a label table; those without a target are left out.
        task: Their task, of kind `grade`.
        prompts: What is asked and answered; a photograph's id chooses the phrasing.
        findings: Findings of the annotated photographs by id.

    Raises:
        ConfigError: If the task has no grades.
    """
    made = []
    for row in rows:
        if row["target"] is None:
            continue
        name, known = str(row["id"]), findings.get(str(row["id"]))
        made.append(
            Conversation(
                id=name,
                path=str(row["path"]),
                grade=int(row["target"]),
                question=prompts.question(name),
                answer=prompts.answer(task, int(row["target"]), known, name),
                split=str(row["split"]),
                patient=str(row["patient"]),
                eye=str(row["eye"]),
                findings=known,
            )
        )
    return made


def write_conversations(path: str | Path, conversations: Sequence[Conversation], task: Task) -> None:
    """Write conversations as JSON lines, whole or not at all; image paths are relative to the file where they can be.

    Args:
        path: The file.
        conversations: Photographs with question and answer.
        task: Task of the grades; its name goes into every line.
    """
    folder = Path(path).absolute().parent
    lines = [json.dumps(_line(c, task, folder), ensure_ascii=False, allow_nan=False) for c in conversations]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _line(conversation: Conversation, task: Task, folder: Path) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "image": _relative(conversation.path, folder),
        "conversations": [
            {"from": "human", "value": f"{IMAGE}\n{conversation.question}"},
            {"from": "gpt", "value": conversation.answer},
        ],
        "grade": conversation.grade,
        "task": task.name,
        "split": conversation.split,
        "patient": conversation.patient,
        "eye": conversation.eye,
        "findings": None if conversation.findings is None else conversation.findings.to_dict(),
    }


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return Path(path).absolute().as_posix()


def read_conversations(path: str | Path, task: Task, images: str | Path | None = None) -> list[Conversation]:
    """Read and check conversations.

    A line needs `id`, `image` and `conversations` (one question of `human` with one `<image>`, one answer
    of `gpt`); `grade` is read from the answer where it is not given. `task`, `split`, `patient`, `eye` and
    `findings` are as `write_conversations` writes them, or left away.

    Args:
        path: The file; empty lines are passed over.
        task: Task of the grades.
        images: Folder that relative image paths count from; None: that of the file.

    Raises:
        DataError: If the file is missing or empty, or lines cannot be used: tells every one with its number.
    """
    path = Path(path)
    data = _read(path)
    folder = Path(images) if images is not None else path.absolute().parent
    found, faults, first = list[Conversation](), list[str](), dict[str, int]()
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            conversation = _conversation(_object(raw), number, task, folder)
            if first.setdefault(conversation.id, number) != number:
                raise _LineError(f"id {conversation.id!r} stands in line {first[conversation.id]} already")
            found.append(conversation)
        except (_LineError, DataError) as fault:
            faults.append(f"line {number}: {fault}")
    if found and len({bool(c.split) for c in found}) > 1:
        without = next(c.line for c in found if not c.split)
        faults.append(f"line {without}: no split, but other lines have one; give all of them a split, or none")
    if faults:
        rest = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}: {'; '.join(faults[:_SHOWN])}{rest}")
    if not found:
        raise DataError(f"{path} holds no conversations; write it again with retinai prepare format=llava_jsonl")
    return found


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_TEXT_BYTES)
    except UnreadableError as error:
        if error.reason != "no such file":
            raise DataError(f"the conversation file {path} cannot be used: {error.reason}") from error
        raise DataError(
            f"the conversation file {path} does not exist; write one with retinai prepare format=llava_jsonl"
        ) from error


class _LineError(Exception):
    """Why a line cannot be used."""


def _object(raw: bytes) -> dict[str, Any]:
    try:
        values = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys)
        if b"\\u" in raw:
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise _LineError("not UTF-8") from None
    except UnicodeEncodeError:
        raise _LineError("a character is written by half (a lone surrogate, \\ud800 to \\udfff)") from None
    except json.JSONDecodeError as error:
        whole = "; the file is one JSON array, write one object per line" if raw.lstrip()[:1] == b"[" else ""
        raise _LineError(f"no JSON ({error.msg}, column {error.colno}){whole}") from None
    except RecursionError:
        raise _LineError("nested too deeply") from None
    except ValueError:
        raise _LineError("a number has thousands of digits") from None
    if not isinstance(values, dict):
        raise _LineError(f"a JSON {type(values).__name__}, not an object with id, image and conversations")
    return values


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _LineError(f"key {_shown(key)} stands there twice")
        values[key] = value
    return values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _conversation(values: dict[str, Any], line: int, task: Task, folder: Path) -> Conversation:
    name = values.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name):
        raise _LineError(f"id {_shown(name)} is no name" if "id" in values else "no id")
    question, answer = _turns(values.get("conversations"))
    if values.get("task", task.name) != task.name:
        raise _LineError(f"task {_shown(values['task'])}, but {task.name!r} was asked for (data.target)")
    return Conversation(
        id=str(name),
        path=_image(values.get("image"), folder),
        grade=_grade(values.get("grade"), answer, task),
        question=question,
        answer=answer,
        split=_one_of(values, "split", (*SPLITS, "")),
        patient=_patient(values.get("patient")),
        eye=_one_of(values, "eye", _EYES),
        findings=None if values.get("findings") is None else Findings.from_dict(values["findings"]),
        line=line,
    )


def _turns(turns: Any) -> tuple[str, str]:
    """Return question and answer of a line's `conversations`."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _LineError("no conversations, a list of turns with 'from' and 'value'")
    if [turn.get("from") for turn in turns] != ["human", "gpt"]:
        raise _LineError(
            f"the turns are of {[turn.get('from') for turn in turns]}; one of human and one of gpt are needed"
        )
    question, answer = (turn.get("value") for turn in turns)
    if not isinstance(question, str) or not isinstance(answer, str) or not answer.strip():
        raise _LineError("question or answer is no text")
    if question.count(IMAGE) != 1 or IMAGE in answer:
        raise _LineError(f"{IMAGE} must stand once in the question and not in the answer")
    question = question.replace(IMAGE, "").strip()
    if not question:
        raise _LineError(f"the question is nothing but {IMAGE}")
    return question, answer.strip()


def _image(image: Any, folder: Path) -> str:
    if not isinstance(image, str) or not image:
        raise _LineError("no image, the path of the photograph")
    file = Path(os.path.abspath(folder / image))  # noqa: PTH100 (resolve() would follow links)
    if not os.path.isfile(file):  # noqa: PTH113 (Path raises on names too long)
        raise _LineError(f"image {image[:200]} does not exist in {folder}")
    return str(file)


def _grade(grade: Any, answer: str, task: Task) -> int:
    stated = parse_grade(answer, task)
    if grade is None:
        if stated is None:
            raise _LineError(f"no grade, and none can be read from the answer {answer[:60]!r}")
        return stated
    if not isinstance(grade, int) or isinstance(grade, bool) or not 0 <= grade < task.num_classes:
        raise _LineError(f"grade {_shown(grade)} must be a whole number from 0 to {task.num_classes - 1}")
    if stated is not None and stated != grade:
        raise _LineError(f"grade {grade}, but the answer says {stated}")
    return grade


def _patient(patient: Any) -> str:
    if patient is None or (isinstance(patient, str | int) and not isinstance(patient, bool)):
        return "" if patient is None else str(patient)
    raise _LineError(f"patient {_shown(patient)} is no name")


def _one_of(values: dict[str, Any], key: str, allowed: Sequence[str]) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if value not in allowed:
        raise _LineError(f"{key} {_shown(value)} is unknown (valid: {', '.join(a for a in allowed if a)})")
    return str(value)
