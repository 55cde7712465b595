"""`retinai prepare format=llava_jsonl` as it is typed, and training from what it writes."""

from __future__ import annotations

import json
import re

import pytest
from small_network import SMALL_NETWORK

from retinai.commands.prepare import run
from retinai.config.checks import check
from retinai.config.compose import compose
from retinai.data.sources.idrid import LESIONS, graded_masks, lesion_mask_files
from retinai.errors import ConfigError, UserError
from retinai.lesions.findings import LESION_NAMES
from retinai.llava.text.jsonl import read_conversations
from retinai.llava.text.parsing import named_lesions, parse_grade
from retinai.tasks.known import DR_GRADE

WORDS = {
    "microaneurysms": "aneurysm",
    "haemorrhages": "haemorrhag",
    "hard_exudates": "hard ex",
    "soft_exudates": "soft ex",
}


def check_against_masks(root, cache, conversations) -> int:
    """Compare every answer with the mask files themselves; return how many photographs are annotated."""
    masks, annotated = graded_masks(root, cache), 0
    for told in conversations:
        files, answer = masks.get(told.id), told.answer.lower()
        assert parse_grade(told.answer, DR_GRADE) == told.grade
        if files is None:
            assert not any(word in answer for word in [*WORDS.values(), "exudate", "hemorrhag", "cotton"]), told
            continue
        annotated += 1
        there = {lesion for lesion in LESION_NAMES if lesion in files}
        assert named_lesions(told.answer) == there, told
        # What is not there is told as absent, and every annotated lesion is spoken of exactly once.
        assert [len(re.findall(WORDS[lesion], answer)) for lesion in LESION_NAMES] == [1] * len(LESION_NAMES), told
        assert len(re.findall(r"\w+|[^\w\s]", told.answer)) < 90
    return annotated


def test_the_real_photographs(idrid_root, idrid_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["data=idrid", f"data.root={idrid_root}", "format=llava_jsonl", f"paths.cache={idrid_cache}"]
    run(compose("prepare", [*words, "out=idrid.jsonl"]))
    assert capsys.readouterr().out.splitlines()[-1] == "file: idrid.jsonl"
    told = read_conversations(tmp_path / "idrid.jsonl", DR_GRADE)
    assert len(told) > 350 and {c.split for c in told} == {"train", "val", "test"}
    assert check_against_masks(idrid_root, idrid_cache, told) == 42
    pairs = set(lesion_mask_files(idrid_root)["id"])
    assert len(pairs) == 54 and set(LESIONS) == {*LESION_NAMES, "optic_disc"}
    first = (tmp_path / "idrid.jsonl").read_bytes()
    run(compose("prepare", [*words, "out=again.jsonl"]))
    assert (tmp_path / "again.jsonl").read_bytes() == first


def test_synthetic_cohort_is_written_and_trained_from(synthetic_idrid, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    words = ["data=idrid", f"data.root={synthetic_idrid}", "format=llava_jsonl", "prompt=brief", "run_dir=found"]
    assert command("prepare", *words, "paths.cache=cache") == 0
    file = tmp_path / "found" / "idrid.jsonl"
    told = read_conversations(file, DR_GRADE)
    assert len(told) == 50 and check_against_masks(synthetic_idrid, tmp_path / "cache", told) > 3
    settings = [
        "data=llava_jsonl", f"data.jsonl={file}", "data.num_workers=0", *SMALL_NETWORK,
        "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", "run_dir=run",
        "paths.cache=cache",
    ]  # fmt: skip
    assert command("train", *settings) == 0
    rows = (tmp_path / "run" / "split.csv").read_text().splitlines()[1:]
    assert {tuple(row.split(",")[:2]) for row in rows} == {(c.id, c.split) for c in told}


def test_other_tasks(synthetic_idrid, synthetic_odir, tmp_path, monkeypatch, command, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["data=idrid", f"data.root={synthetic_idrid}", "data.target=dme", "format=llava_jsonl", "out=dme.jsonl"]
    run(compose("prepare", words))
    lines = [json.loads(line) for line in (tmp_path / "dme.jsonl").read_text().splitlines()]
    assert {line["task"] for line in lines} == {"dme_risk"} and max(line["grade"] for line in lines) == 2
    capsys.readouterr()
    assert command("prepare", "data=odir", f"data.root={synthetic_odir}", "format=llava_jsonl") == 2
    assert "answers are written for grades only" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "outputs" / "odir").exists()


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (["format=parquet"], ConfigError, "valid: cache, llava_jsonl"),
        (["out=some.jsonl"], ConfigError, "format=llava_jsonl"),
        (["format=llava_jsonl", "out=."], UserError, "is a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(words, error, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = compose("prepare", words)
    with pytest.raises(error, match=told):
        check("prepare", cfg)
        run(cfg)
    assert list(tmp_path.iterdir()) == []


def test_a_faulty_file_stops_the_command_with_every_line(tmp_path, monkeypatch, command, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.jsonl").write_text('{"id": "a"}\n{"id"\n')
    assert command("train", "data=llava_jsonl", "data.jsonl=talk.jsonl", "run_dir=run", "logger=none") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "2 faults: line 1: no conversations" in message and "line 2: no JSON" in message
    assert "Traceback" not in message and not (tmp_path / "run").exists()
