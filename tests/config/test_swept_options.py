"""A key that only options between commas have: the refusal says why it is unknown, and what to add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

COURSE = "+experiment=odir_course_se,odir_course_mha"
CASES = {
    "each chooses the same option": ([COURSE, "data.split=patient"], "add data=odir, as each of them chooses"),
    "a group of its own": (["loss=focal,coral", "loss.gamma=1"], "write ++loss.gamma=1, which is checked with each"),
    "each chooses another": (["+experiment=aptos_student,odir_course", "data.split=patient"], "++data.split=patient"),
    "none has it": ([COURSE, "data.nosuch=1"], None),
    "nothing has several values": (["loss=coral", "loss.gamma=1"], None),
}


@pytest.mark.parametrize(("words", "told"), CASES.values(), ids=CASES)
def test_a_key_that_words_with_one_value_do_not_bring(
    words: list[str],
    told: str | None,
    command: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "-m", *words) == 2
    said = capsys.readouterr().err
    assert "has no key" in said and ("several values" in said) == (told is not None)
    assert told is None or told in said
    assert not list(tmp_path.iterdir())


MENDED = ([COURSE, "data.split=patient", "data=odir"], ["loss=focal,class_balanced_focal", "++loss.gamma=1"])


@pytest.mark.parametrize("words", MENDED, ids=" ".join)
def test_what_it_says_mends_it(
    words: list[str],
    command: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The keys are taken, and what is refused then is the next thing."""
    monkeypatch.chdir(tmp_path)
    assert command("train", "-m", *words, "seed=null") == 2
    said = capsys.readouterr().err
    assert "has no key" not in said and "takes no" not in said and "seed=null" in said
