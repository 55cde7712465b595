"""Flags such as `-m` stand anywhere among the words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_multirun_is_asked_for_anywhere(
    tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str], place: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And only `train -m` makes a sweep of it: nothing is left of the others but what they said."""
    roots = [tmp_path / name for name in ("one", "other")]
    for root in roots:
        (root / "run").mkdir(parents=True)
        (root / "run" / "run.json").write_text(json.dumps({"status": "finished", "started": "2026-01-01T00:00:00"}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = [f"root={roots[0]},{roots[1]}", "limit=1"]
    assert command("runs", *words[:place], "-m", *words[place:]) == 0
    said = capsys.readouterr().out
    assert all(str(root / "run") in said for root in roots), said
    assert not list((tmp_path / "here").iterdir())
    assert command("runs", "-m", f"root={roots[0]},{tmp_path / 'none'}") == 2
    assert command("runs", "-m", f"root={roots[0]},{roots[1]}", "no_such_key=1") == 2
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("word", ["hydra/launcher=slurm", "hydra/launcher=hipergator", "hydra/sweeper=optuna"])
def test_only_trainings_are_handed_to_a_cluster_or_searched(
    word: str, tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("runs", "-m", f"root={tmp_path},{tmp_path}", word) == 2
    assert f"{word} is for sweeps of retinai train" in capsys.readouterr().err


def test_a_flag_with_a_value_keeps_it(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report", "--cfg", "job", "some/run", "resamples=7") == 0
    said = capsys.readouterr().out
    assert "- some/run" in said and "resamples: 7" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--resolve"], "--cfg"), (["hydra.run.dir=/proc/x"], "/proc/x"),
     (["-cd", "nowhere/x"], "config directory"), (["--exp=file.pickle"], "resume=true"),
     (["--cfg", "job", "--info"], "Only one of"), (["data.root=${nosuch}"], "(in data.root=${nosuch})"),
     (["--experimental-rerun", "file.pickle"], "resume=true"), (["--shell-completion", "-m"], "Only one of")],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_flags_that_make_no_sense_are_one_sentence(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert command("train", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and told in said and "Traceback" not in said, said


@pytest.mark.parametrize(
    ("word", "told"),
    [("=3", "'=3' has no key"), ("+=3", "has no key"), ("loss=3", "loss=3: no such option"), ("loss=null", "loss=null"),
     ("data=1.5", "data=1.5: no such option"), ("logger=[[1]]", "logger=[[1]]: no such option"),
     ("loss=[2]", "loss=[2]: no such option"), ("loss=[{a:1}]", "no such option"),
     ("model=true", "no such option")],
)  # fmt: skip
def test_words_that_are_no_choices_are_refused(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], word: str, told: str
) -> None:
    assert command("train", word) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said


@pytest.mark.parametrize("command_name", ["report", "dashboard"])
def test_runs_are_named_in_one_way(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], command_name: str, tmp_path: Path
) -> None:
    assert command(command_name, str(tmp_path), "runs=[]", f"out={tmp_path / 'out'}") == 2
    assert "runs= both name what is meant" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("width", ["0", ""])
def test_a_terminal_that_does_not_tell_its_width_gets_the_table(
    width: str, tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", width)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"status": "finished", "data": "aptos"}))
    assert command("runs", f"root={tmp_path}") == 0
    said = capsys.readouterr().out
    assert "1 runs" in said and "finished" in said and "aptos" in said, said
