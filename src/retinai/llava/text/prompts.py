"""Questions and answers as text templates, in several phrasings that a seed chooses from.

An answer is the grade and its reasons. Reasons are facts: findings where lesions were annotated,
otherwise only what the label itself says.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai.errors import ConfigError
from retinai.lesions.findings import LESION_NAMES, QUADRANTS, Findings, LesionFinding
from retinai.llava.settings import only_for_llava
from retinai.llava.text.parsing import named_lesions, parse_grade
from retinai.llava.text.words import (
    absent_words,
    area_words,
    class_words,
    count_words,
    label_words,
    lesion_words,
    quadrant_words,
)
from retinai.tasks.known import DME_RISK, DR_GRADE
from retinai.tasks.task import Task

# Which fields a template may have, and which of them it must have.
_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "questions": (set(), set()),
    "grade": ({"grade", "name"}, {"grade"}),
    "present": ({"count", "lesion", "area", "quadrants"}, {"count", "lesion", "area", "quadrants"}),
    "absent": ({"lesions"}, {"lesions"}),
    "referable": (set(), set()),
    "not_referable": (set(), set()),
    "label_question": ({"label"}, {"label"}),
    "label_yes": (set(), set()),
    "label_no": (set(), set()),
    "told": ({"lesions"}, {"lesions"}),
    "told_none": (set(), set()),
}
_SINGLE = (
    "grade",
    "label_question",
    "label_yes",
    "label_no",
    "told",
    "told_none",
)  # one text each, the others are lists of phrasings


class PromptTemplates:
    """Templates of questions and answers for any task of kind `grade`.

    A field is a name in braces. Texts carry neither `<image>` nor chat roles: the chat template of a
    model's processor adds those.

    Args:
        name: Name of the templates.
        questions: Phrasings of the question, without fields; the first is used for grading.
        grade: What every answer begins with: `{grade}`, the number, and if wanted `{name}`, its class.
        present: Phrasings of a lesion that is there: `{count}`, `{lesion}`, `{area}` (a percentage of
            the field of view), `{quadrants}`.
        absent: Phrasings of annotated lesions that are not there: `{lesions}`.
        referable: Phrasings of the reason on photographs without annotation, where the grade is referred.
        not_referable: The same where it is not.
        label_question: The question about one label of a task of labels: `{label}`.
        label_yes: The answer where a photograph has the label.
        label_no: The answer where it has not.
        told: What a question adds that tells which lesions a photograph has: `{lesions}`.
        told_none: The same where it has none of those that were looked for.
        seed: Seed of the phrasing.

    Raises:
        ConfigError: With all problems: no phrasings, a field that is missing or unknown, two grades
            with one text, or text that is not read back as what it says.
    """

    def __init__(
        self,
        name: str,
        questions: Sequence[str],
        grade: str,
        present: Sequence[str],
        absent: Sequence[str],
        referable: Sequence[str],
        not_referable: Sequence[str],
        label_question: str = "Does this fundus photograph show {label}?",
        label_yes: str = "Yes.",
        label_no: str = "No.",
        told: str = "Lesions that were found: {lesions}.",
        told_none: str = "No lesions were found.",
        seed: int = 0,
    ) -> None:
        self.name, self.grade, self.seed = name, grade, seed
        self.told, self.told_none = told, told_none
        self.label_question, self.label_yes, self.label_no = label_question, label_yes, label_no
        self._fitting: set[Task] = set()  # tasks that were checked
        self.questions, self.present, self.absent = questions, present, absent
        self.referable, self.not_referable = referable, not_referable
        problems = [problem for part in _FIELDS for problem in self._template_problems(part)]
        if not problems:
            problems = [*self.problems(DR_GRADE), *self.problems(DME_RISK), *self._reason_problems()]
            if _affirms(label_yes) is not True or _affirms(label_no) is not False:
                problems.append(f"label_yes {label_yes!r} and label_no {label_no!r} must begin with Yes and No")
        if problems:
            raise ConfigError([f"prompt {name!r}: {problem}" for problem in dict.fromkeys(problems)])
        for part in set(_FIELDS) - {*_SINGLE}:
            setattr(self, part, tuple(getattr(self, part)))

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that it was chosen for a kind of model that takes no templates."""
        return () if OmegaConf.select(cfg, "model.prompt") is not None else only_for_llava(cfg, "prompt")

    def question(self, key: str | None = None) -> str:
        """Return the question: the phrasing of a key (a photograph's id), or the first, used for grading."""
        return self.questions[0] if key is None else self._choose("questions", key)

    def tell(self, question: str, findings: Findings | None) -> str:
        """Return a question that tells which lesions a photograph has; as it is where nobody looked for any."""
        if findings is None or not findings.annotated:
            return question
        names = [lesion_words(found.lesion, 2) for found in findings.present]
        return f"{question} {_fill(self.told, lesions=', '.join(names)) if names else self.told_none}"

    def grade_text(self, task: Task, grade: int) -> str:
        """Return the words that every answer of a grade begins with.

        Raises:
            ConfigError: If the task has no grades, or its grades cannot be told apart.
        """
        if task not in self._fitting:
            problems = self.problems(task)
            if problems:
                raise ConfigError([f"prompt {self.name!r}: {problem}" for problem in problems])
            self._fitting.add(task)
        return self._grade_text(task, grade)

    def label_question_text(self, task: Task, label: int) -> str:
        """Return the question about a label of a task of labels."""
        return _fill(self.label_question, label=label_words(task, label))

    def answer(self, task: Task, grade: int, findings: Findings | None, key: str) -> str:
        """Return an answer: the grade and its reasons, the phrasing chosen by seed and key.

        Args:
            task: A task of grades.
            grade: The grade, 0 to C - 1.
            findings: What the masks say; None (or nothing annotated) where nobody drew any, and the
                reasons then are only what the label says.
            key: The photograph's id.

        Raises:
            ConfigError: As `grade_text`.
        """
        sentences = [self.grade_text(task, grade)]
        if findings is None or not findings.annotated:
            if task.referable_from is not None:
                sentences.append(self._choose("referable" if grade >= task.referable_from else "not_referable", key))
        else:
            sentences += [self._present(found, findings.laterality, key) for found in findings.present]
            if findings.absent:
                sentences.append(_fill(self._choose("absent", key), lesions=absent_words(findings.absent)))
        return " ".join(sentences)

    def problems(self, task: Task) -> list[str]:
        """Return why these templates cannot grade a task: one sentence each, none if they can."""
        if "ordered" not in task.target_types:
            return [f"task {task.name} has no ordered grades; answers are written for grades only"]
        texts = [self._grade_text(task, grade) for grade in range(task.num_classes)]
        found = []
        for grade, text in enumerate(texts):
            if text in texts[:grade]:
                found.append(f"grades {texts.index(text)} and {grade} of {task.name} have the same text {text!r}")
            elif parse_grade(text, task) != grade:
                found.append(f"the text {text!r} of grade {grade} of {task.name} is not read back as that grade")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (str, int, list); `PromptTemplates(**values)` rebuilds the templates."""
        parts = {part: list(getattr(self, part)) for part in _FIELDS if part not in _SINGLE}
        return {"name": self.name, **{part: getattr(self, part) for part in _SINGLE}, **parts, "seed": self.seed}

    def _grade_text(self, task: Task, grade: int) -> str:
        return _fill(self.grade, grade=str(grade), name=class_words(task, grade))

    def _present(self, found: LesionFinding, laterality: str, key: str) -> str:
        return _fill(
            self._choose("present", f"{key}|{found.lesion}"),
            count=count_words(found.count),
            lesion=lesion_words(found.lesion, found.count),
            area=area_words(found.area),
            quadrants=quadrant_words(found.quadrants, laterality),
        )

    def _choose(self, part: str, key: str) -> str:
        """Return the phrasing of a key: a hash, not a generator, so that order and process do not matter."""
        phrasings: Sequence[str] = getattr(self, part)
        digest = hashlib.sha256(f"{self.seed}|{part}|{key}".encode()).digest()
        return phrasings[int.from_bytes(digest[:8], "big") % len(phrasings)]

    def _template_problems(self, part: str) -> list[str]:
        value = getattr(self, part)
        if part in _SINGLE:
            value = [value]
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            return [f"{part} must be a list of one or more texts, got {value!r}"]
        return [problem for text in value for problem in _text_problems(part, text)]

    def _reason_problems(self) -> list[str]:
        """Say every reason of every lesion and read it back, so that what is said can be measured."""
        said: list[tuple[str, set[str]]] = []
        for lesion in LESION_NAMES:
            for text in self.present:
                for count in (1, 9):
                    words = {
                        "count": count_words(count),
                        "lesion": lesion_words(lesion, count),
                        "area": area_words(0.01),
                    }
                    said.append((_fill(text, **words, quadrants=quadrant_words(QUADRANTS[""][:1], "")), {lesion}))
            said += [(_fill(text, lesions=absent_words([lesion])), set()) for text in self.absent]
        said += [(_fill(text, lesions=absent_words(LESION_NAMES)), set()) for text in self.absent]
        said += [(text, set()) for text in (*self.referable, *self.not_referable)]
        return [
            f"{text!r} is read back as naming {sorted(named_lesions(text)) or 'no lesion'}"
            for text, lesions in said
            if named_lesions(text) != lesions
        ]


def _text_problems(part: str, text: Any) -> list[str]:
    if not isinstance(text, str) or not text.strip():
        return [f"{part} holds {text!r}; a template is a text"]
    allowed, needed = _FIELDS[part]
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        return [f"{part} {text!r} has braces that do not fit ({error})"]
    # A field with a format or conversion is unknown as well: fields are words, put in as they are.
    fields = [
        f"{name}{'!' + c if c else ''}{':' + spec if spec else ''}" for _, name, spec, c in parsed if name is not None
    ]
    choice = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
    problems = [f"{part} {text!r} has the unknown field {{{f}}} (valid: {choice})" for f in fields if f not in allowed]
    problems += [f"{part} {text!r} lacks the field {{{f}}}" for f in sorted(needed - {*fields})]
    marks = [mark for mark in ("<image>", "USER:", "ASSISTANT:") if mark in text]
    return problems + [f"{part} {text!r} holds {mark}, which the chat template adds" for mark in marks]


def _affirms(text: str) -> bool | None:
    """Return whether an answer says yes or no; None where it says neither."""
    word = re.match(r"\s*(yes|no)\b", text, re.IGNORECASE)
    return None if word is None else word[1].lower() == "yes"


def _fill(template: str, **words: str) -> str:
    """Fill in a sentence and begin it with a capital."""
    text = template.format(**words)
    return text[:1].upper() + text[1:]
