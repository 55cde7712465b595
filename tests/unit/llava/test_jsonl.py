"""Conversations written, read back, trained from; and every fault of a file told with its line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from retinai.errors import ConfigError, DataError
from retinai.lesions.fields import FindingsField
from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding
from retinai.llava.jsonl_source import LlavaJsonlDataModule
from retinai.llava.text.jsonl import Conversation, read_conversations, write_conversations
from retinai.tasks.known import DME_RISK, DR_GRADE

PREPROCESSING = {"input_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
FOUND = Findings(LESION_NAMES, (LesionFinding("haemorrhages", 3, 0.01, ("upper left",)),), "")


@pytest.fixture
def folder(tmp_path):
    """Twelve small photographs."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        image = np.zeros((40, 40, 3), np.uint8)
        cv2.circle(image, (20, 20), 18, [int(v) for v in rng.integers(60, 250, 3)], -1)
        cv2.imwrite(str(tmp_path / "images" / f"p{number}.png"), image)
    return tmp_path


def line(number: int = 0, **change) -> dict:
    """A line as others write it: id, image and conversations only."""
    turns = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "Grade 2 (moderate)."}]
    values = {"id": f"p{number}", "image": f"images/p{number}.png", "conversations": turns} | change
    return {key: value for key, value in values.items() if value is not ...}


def turns(question: object, answer: object) -> list[dict]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write(folder, *lines) -> str:
    texts = [text if isinstance(text, bytes) else json.dumps(text).encode() for text in lines]
    (folder / "talk.jsonl").write_bytes(b"\n".join(texts) + b"\n")
    return str(folder / "talk.jsonl")


def test_what_is_written_is_read(folder):
    file = folder / "deep" / "talk.jsonl"
    told = [
        Conversation("a", str(folder / "images" / "p0.png"), 2, "Which?", "Grade 2.", "train", "x", "left", FOUND, 1),
        Conversation(
            "b", str(folder / "images" / "p1.png"), 0, "Welche?", "Grade 0 (keine).", "test", "y", "", None, 2
        ),
    ]
    write_conversations(file, told, DR_GRADE)
    assert read_conversations(file, DR_GRADE) == told
    values = [json.loads(text) for text in file.read_text().splitlines()]
    assert values[0]["image"] == "../images/p0.png"
    assert values[0]["conversations"] == [
        {"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "Grade 2."},
    ]  # fmt: skip
    assert (values[0]["grade"], values[0]["split"], values[0]["task"]) == (2, "train", "dr_grade")


def test_lines_of_others_are_read(folder):
    file = write(
        folder,
        b"\xef\xbb\xbf" + json.dumps(line(0)).encode(),
        b"",
        line(1, image=str(folder / "images" / "p1.png"), id=17),
        line(2, conversations=turns("Which?\n<image>", " Grade 1: mild. ")) | {"model": "unknown keys are passed over"},
        line(3, grade=3, conversations=turns("<image>Which?", "Much blood.")),
    )
    found = read_conversations(file, DR_GRADE)
    assert [(c.id, c.grade, c.line) for c in found] == [("p0", 2, 1), ("17", 2, 3), ("p2", 1, 4), ("p3", 3, 5)]
    assert (found[2].question, found[2].answer) == ("Which?", "Grade 1: mild.")
    assert {c.split for c in found} == {""} and found[0].findings is None


FAULTS = [
    (b"{", "no JSON"),
    (b'[{"id": "a"},', "one JSON array"),
    (b"[3]", "a JSON list"),
    (b"3", "a JSON int"),
    (b'{"id": "\xff"}', "not UTF-8"),
    (line(1, id=...), "no id"),
    (line(1, id=""), "id '' is no name"),
    (line(0), "id 'p0' stands in line 1 already"),
    (line(1, image="images/none.png"), "image images/none.png does not exist"),
    (line(1, image=...), "no image"),
    (line(1, image="images"), "image images does not exist"),
    (line(1, conversations=...), "no conversations"),
    (line(1, conversations=["a"]), "no conversations"),
    (line(1, conversations=turns("<image> a", "Grade 1")[:1]), r"turns are of \['human'\]"),
    (line(1, conversations=turns("<image> a", "Grade 1") * 2), "one of human and one of gpt"),
    (line(1, conversations=turns("Which?", "Grade 1")), "<image> must stand once"),
    (line(1, conversations=turns("<image>", "Grade 1")), "nothing but <image>"),
    (line(1, conversations=turns("<image> a", None)), "no text"),
    (line(1, conversations=turns("<image> a", "Much blood.")), "none can be read from the answer 'Much blood.'"),
    (line(1, grade=5), "grade 5 must be a whole number from 0 to 4"),
    (line(1, grade=True), "grade True must be"),
    (line(1, grade=3), "grade 3, but the answer says 2"),
    (line(1, split="training"), r"split 'training' is unknown \(valid: train, val, test\)"),
    (line(1, eye="middle"), "eye 'middle' is unknown"),
    (line(1, patient=[1]), r"patient \[1\] is no name"),
    (line(1, task="dme_risk"), r"task 'dme_risk', but 'dr_grade' was asked for"),
    (line(1, findings={"present": []}), "no findings"),
    (line(1, split="train"), "line 1: no split, but other lines have one"),
    (b'{"id": ' + b"[" * 100_000, "nested too deeply"),
    (b'{"id": "a", "grade": ' + b"9" * 5000 + b"}", "a number has thousands of digits"),
    (line(1, grade=10**4000), "grade 1000.*must be a whole number"),
    (line(1, grade=float("nan")), "grade nan must be"),
    (line(1, patient="\ud800"), "a lone surrogate"),
    (line(1, image="a\0b.png"), "image a.*does not exist"),
    (line(1, image="a" * 5000), "image a.*does not exist"),
    (b'{"id": "a", "grade": 1, "grade": 2}', "key 'grade' stands there twice"),
]


@pytest.mark.parametrize(("faulty", "told"), FAULTS, ids=[str(k) for k in range(len(FAULTS))])
def test_a_faulty_line_is_told(folder, faulty, told):
    with pytest.raises(DataError, match=told):
        read_conversations(write(folder, line(0), faulty), DR_GRADE)


def test_all_faults_come_together_with_their_lines(folder):
    file = write(folder, line(0), b"{", b"", line(1, image="none.png"), line(2, grade=9), line(3))
    with pytest.raises(DataError, match=r"3 faults: line 2: .*; line 4: .*none\.png.*; line 5: .*grade 9"):
        read_conversations(file, DR_GRADE)
    with pytest.raises(DataError, match=r"25 faults.*; and 5 more"):
        read_conversations(write(folder, *[b"{"] * 25), DR_GRADE)


@pytest.mark.parametrize(("content", "told"), [(None, "does not exist"), (b"\n\n", "holds no conversations")])
def test_a_file_without_lines_is_told(folder, content, told):
    if content is not None:
        (folder / "talk.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_conversations(folder / "talk.jsonl", DR_GRADE)


def test_batches_carry_conversations_and_findings(folder):
    lines = [line(k, grade=k % 3, conversations=turns("<image>\nWhich?", f"Grade {k % 3}.")) for k in range(12)]
    lines[0]["findings"] = FOUND.to_dict()
    options = {"near_duplicates": False, "preprocessing": PREPROCESSING, "cache": folder / "cache", "num_workers": 0}
    data = LlavaJsonlDataModule(
        jsonl=write(folder, *lines),
        target="dme",
        val_fraction=0.25,
        test_fraction=0.25,
        batch_size=2,
        fields=[FindingsField()],
        **options,
    )
    data.setup()
    assert data.table["split"].value_counts().to_dict() == {"train": 6, "val": 3, "test": 3}
    for split in ("train", "val", "test"):
        for batch in data.loader(split):
            assert batch["image"].shape[1:] == (3, 32, 32)
            assert batch["conversation"] == [("Which?", f"Grade {int(t)}.") for t in batch["target"]]
            assert batch["findings"] == [FOUND if name == "p0" else None for name in batch["id"]]
    assert data.task == DME_RISK


def test_the_official_parts_of_a_file_stay(folder):
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    lines = [
        line(k, grade=k % 3, conversations=turns("<image> a", f"Grade {k % 3}"), split=parts[k]) for k in range(12)
    ]
    data = LlavaJsonlDataModule(
        jsonl=write(folder, *lines),
        target="dme",
        near_duplicates=False,
        preprocessing=PREPROCESSING,
        cache=folder / "c",
    )
    data.setup()
    assert data.table["split"].tolist() == parts and data.notes == []


def test_image_paths_count_from_root(folder):
    file = write(folder, line(0, image="p0.png"))
    data = LlavaJsonlDataModule(jsonl=file, root=str(folder / "images"))
    assert data.source.read_table()["path"].tolist() == [str(folder / "images" / "p0.png")]


def test_options_that_make_no_sense(folder):
    with pytest.raises(DataError, match=r"set data\.jsonl=FILE"):
        LlavaJsonlDataModule().setup()
    with pytest.raises(ConfigError, match="valid: grade, dme"):
        LlavaJsonlDataModule(target="oedema")
