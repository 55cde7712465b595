"""Answers say what the findings say and nothing else, in every phrasing that is shipped."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml

from retinai.config.build import build
from retinai.config.paths import conf_dir
from retinai.errors import ConfigError
from retinai.lesions.findings import LESION_NAMES, QUADRANTS, Findings, LesionFinding
from retinai.llava.text.parsing import named_lesions, parse_grade
from retinai.llava.text.prompts import PromptTemplates
from retinai.llava.text.words import area_words, count_words, quadrant_words
from retinai.tasks.grade import GradeTask
from retinai.tasks.known import DME_RISK, DR_GRADE, ODIR_8
from retinai.tasks.task import Task

FILES = sorted((conf_dir() / "prompt").glob("*.yaml"))
COUNT_RANGES = {"one": (1, 1), "a few": (2, 5), "several": (6, 20), "many": (21, 100), "over 100": (101, 10**9)}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def templates(request) -> PromptTemplates:
    return build(yaml.safe_load(request.param.read_text()), PromptTemplates)


def values(**change) -> dict:
    return yaml.safe_load((conf_dir() / "prompt" / "default.yaml").read_text()) | change


def make(**change) -> PromptTemplates:
    return build(values(**change), PromptTemplates)


def some_findings(number: int, seed: int = 0) -> list[Findings]:
    rng, made = np.random.default_rng(seed), []
    for _ in range(number):
        eye = str(rng.choice(["", "left", "right"]))
        annotated = tuple(n for n in LESION_NAMES if rng.random() < 0.8)
        present = []
        for lesion in annotated:
            places = tuple(q for q in QUADRANTS[eye] if rng.random() < 0.5)
            if places and rng.random() < 0.7:
                count, area = int(np.ceil(10 ** rng.uniform(0, 2.5))), float(10 ** rng.uniform(-5, -0.6))
                present.append(LesionFinding(lesion, count, area, places))
        made.append(Findings(annotated, tuple(present), eye))
    return made


def sentence_of(lesion: str, answer: str) -> str:
    """The sentence of an answer that names a lesion."""
    return next(s for s in re.split(r"\.(?=\s|$)", answer) if lesion in named_lesions(s))


def said_quadrants(sentence: str, eye: str) -> set[str]:
    if "all quadrants" in sentence.lower():
        _, _, left_out = sentence.partition(" but the ")
        return {q for q in QUADRANTS[eye] if not left_out.startswith(q)}
    return {q for q in QUADRANTS[eye] if q in sentence}


def test_what_an_answer_says_equals_its_findings(templates):
    for number, findings in enumerate(some_findings(300)):
        grade = number % 5
        answer = templates.answer(DR_GRADE, grade, findings, f"id{number}")
        assert parse_grade(answer, DR_GRADE) == grade
        assert answer.startswith(templates.grade_text(DR_GRADE, grade))
        assert named_lesions(answer) == {f.lesion for f in findings.present}
        for found in findings.present:
            sentence = sentence_of(found.lesion, answer)
            low, high = COUNT_RANGES[next(w for w in COUNT_RANGES if re.search(rf"\b{w}\b", sentence.lower()))]
            assert low <= found.count <= high
            assert said_quadrants(sentence, findings.laterality) == set(found.quadrants)
            below, share = re.search(r"(under )?([\d.]+)%", sentence).groups()
            if below:
                assert 100 * found.area < float(share)
            else:
                assert float(share) == pytest.approx(100 * found.area, abs=0.5 if "." not in share else 0.05)
        denied = " ".join(s for s in re.split(r"\.(?=\s|$)", answer) if not named_lesions(s))
        for lesion in LESION_NAMES:
            assert (lesion.replace("_", " ") in denied) == (lesion in findings.absent)
        assert len(re.findall(r"\w+|[^\w\s]", answer)) < 90


def test_nothing_annotated_names_no_lesion(templates):
    for grade in range(5):
        for findings in (None, Findings((), (), "")):
            answers = {templates.answer(DR_GRADE, grade, findings, str(k)) for k in range(20)}
            for answer in answers:
                assert named_lesions(answer) == set()
                assert not re.search(r"aneurysm|h[a]?emorrhag|exudate|cotton", answer.lower())
                assert parse_grade(answer, DR_GRADE) == grade
                assert bool(re.search(r"\bnot\b", answer.lower())) == (grade < 2)
    assert templates.answer(DME_RISK, 1, None, "a") == templates.grade_text(DME_RISK, 1)


def test_grade_texts_can_be_told_apart(templates):
    for task in (DR_GRADE, DME_RISK):
        texts = [templates.grade_text(task, g) for g in range(task.num_classes)]
        assert len(set(texts)) == task.num_classes
        assert [parse_grade(t, task) for t in texts] == list(range(task.num_classes))


def test_phrasing_follows_from_seed_and_id():
    one, same, other = make(), make(), make(seed=1)
    ids = [f"id{k}" for k in range(50)]
    assert [one.question(i) for i in ids] == [same.question(i) for i in reversed(ids)][::-1]
    assert [one.question(i) for i in ids] != [other.question(i) for i in ids]
    assert {one.question(i) for i in ids} == set(one.questions)
    assert one.question() == one.questions[0]
    findings = some_findings(1, seed=3)[0]
    answers = [one.answer(DR_GRADE, 2, findings, i) for i in ids]
    assert answers == [same.answer(DR_GRADE, 2, findings, i) for i in ids]
    assert len(set(answers)) > 3
    # Fixed for ever: another hash would give other answers for the same seed.
    assert one.answer(DR_GRADE, 3, None, "train_IDRiD_001") == (
        "Grade 3 (severe). This grade is referred to an ophthalmologist."
    )


def test_plain_values_rebuild_the_templates(templates):
    again = PromptTemplates(**templates.to_dict())
    assert again.to_dict() == templates.to_dict()
    findings = some_findings(1)[0]
    assert again.answer(DR_GRADE, 1, findings, "a") == templates.answer(DR_GRADE, 1, findings, "a")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"grade": "Moderate."}, "lacks the field {grade}"),
        ({"grade": "({name})"}, "lacks the field {grade}"),
        ({"grade": "Grade {grad}."}, "unknown field {grad} (valid: {grade}, {name})"),
        ({"grade": "Grade {grade:d}."}, "unknown field {grade:d}"),
        ({"grade": "Grade {grade"}, "braces"),
        ({"grade": 3}, "a template is a text"),
        ({"grade": "About {grade} points."}, "is not read back as that grade"),
        ({"questions": []}, "questions must be a list of one or more texts"),
        ({"questions": "Which?"}, "questions must be a list"),
        ({"questions": ["<image>\nWhich?"]}, "holds <image>"),
        ({"questions": ["Which {grade}?"]}, "unknown field {grade} (valid: none)"),
        ({"present": ["{count} {lesion} in {quadrants}."]}, "lacks the field {area}"),
        ({"present": ["No {count} {lesion}, {area}, {quadrants}."]}, "read back as naming no lesion"),
        ({"absent": ["There are {lesions}."]}, "read back as naming"),
        ({"referable": ["Haemorrhages are likely."]}, "read back as naming ['haemorrhages']"),
        ({"absent": [""]}, "a template is a text"),
    ],
)
def test_templates_that_cannot_work_are_refused(change, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        make(**change)


def test_all_problems_come_together():
    with pytest.raises(ConfigError) as caught:
        make(grade="Moderate.", questions=[], absent=["No {lesion}."])
    assert len(caught.value.problems) == 4  # the last one lacks {lesions} and has an unknown field


def test_grades_with_one_text_and_tasks_without_grades_are_refused():
    twins = GradeTask("twins", tuple(f"c{k}" for k in range(3)))
    assert make().grade_text(twins, 2) == "Grade 2 (c2)."
    with pytest.raises(ConfigError, match="grades 0 and 1 of dr_grade have the same text"):
        _Numberless(**{k: v for k, v in values().items() if k != "_target_"})
    with pytest.raises(ConfigError, match="answers are written for grades only"):
        make().answer(ODIR_8, 0, None, "a")


class _Numberless(PromptTemplates):
    """Templates whose grade text does not change with the grade, as a subclass may write it."""

    def _grade_text(self, task: Task, grade: int) -> str:
        return "Grade 0."


def test_words_at_their_limits():
    assert [count_words(n) for n in (1, 2, 5, 6, 20, 21, 100, 101)] == [
        "one", "a few", "a few", "several", "several", "many", "many", "over 100",
    ]  # fmt: skip
    assert [area_words(a) for a in (1e-5, 0.00099, 0.001, 0.0094, 0.0096, 0.21)] == [
        "under 0.1%", "under 0.1%", "0.1%", "0.9%", "1%", "21%",
    ]  # fmt: skip
    names = QUADRANTS["left"]
    assert quadrant_words(names, "left") == "all quadrants"
    assert quadrant_words(names[1:], "left") == "all quadrants but the superonasal"
    assert quadrant_words(names[1:3], "left") == "the superotemporal and inferonasal quadrants"
    assert quadrant_words(names[:1], "left") == "the superonasal quadrant"
