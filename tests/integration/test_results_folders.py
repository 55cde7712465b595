"""Folders of results: a command that is refused leaves none, two at once have one each, names lead nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retinai.errors import UserError
from retinai.files import unique_names
from retinai.run import results
from retinai.run.results import results_folder

Command = Callable[..., int]


@pytest.mark.parametrize(
    "words",
    [
        ["images=/nowhere"],
        ["data=aptos", "data.root=/nowhere"],
        ["images={photographs}", "regions=[vessels]", "paths.weights=/nowhere"],
        ["images={photographs}", "method=rollout"],
    ],
    ids=["no photographs", "no data", "no weights", "a method that does not suit"],
)
@pytest.mark.parametrize("place", ["of its own", "named"])
def test_an_explanation_that_is_refused_leaves_nothing(
    words: list[str], place: str, tiny_checkpoint: Path, synthetic_aptos: Path, tmp_path: Path, command: Command
) -> None:
    run = tiny_checkpoint.parents[1]
    before = {*run.rglob("*")}
    given = [word.replace("{photographs}", str(synthetic_aptos / "test_images")) for word in words]
    named = [] if place == "of its own" else [f"run_dir={tmp_path / 'a' / 'b'}"]
    more = ["layer=layer1", "num_workers=0", "accelerator=cpu", f"paths.cache={tmp_path / 'cache'}"]
    assert command("explain", f"ckpt={tiny_checkpoint}", *given, *named, *more) == 2
    assert {*run.rglob("*")} == before and not (tmp_path / "a").exists()


def test_what_was_there_stays_when_a_command_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RuntimeError), results_folder(tmp_path, "retinai explain", unique=False) as folder:
        (folder / "maps").mkdir()
        (folder / "maps" / "a.npz").write_bytes(b"x")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_at_once_have_a_folder_each_or_the_second_is_refused(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from retinai.run.results import results_folder
with results_folder(Path({str(tmp_path / "r")!r}), "retinai probe", unique=%s) as folder:
    print(folder)
"""
    with results_folder(tmp_path / "r", "retinai probe", unique=True):
        runs = [
            subprocess.run([sys.executable, "-c", code % unique], capture_output=True, text=True, check=False)
            for unique in (True, False)
        ]
    assert runs[0].stdout.strip() == str(tmp_path / "r-2")
    assert "is in use by another retinai probe" in runs[1].stderr and "another run_dir=" in runs[1].stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "r-2"] and not (tmp_path / "r" / ".lock").exists()
    with results_folder(tmp_path / "r", "retinai probe", unique=False) as folder:
        assert folder == tmp_path / "r"
    with pytest.raises(UserError), results_folder(tmp_path / "s" / "t", "retinai probe", unique=False):
        raise UserError
    assert not (tmp_path / "s").exists()


def test_names_of_folders_lead_nowhere_else() -> None:
    names = unique_names(["../../x", "/etc/x", "a b", "A B", ".", "", "_"])
    assert list(names.values()) == ["_.._x", "_etc_x", "a b", "A B_2", "_", "__2", "__3"]


@pytest.mark.parametrize("name", ["evaluate", "stress", "report", "dashboard"])
def test_a_folder_that_another_command_has_filled_meanwhile_is_not_overwritten(
    name: str, tiny_runs: list[Path], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The other one comes and goes between the look at the folder and the moment in which it is held."""
    out, checkpoint = tmp_path / "out", f"ckpt={tiny_runs[0] / 'checkpoints' / 'best.ckpt'}"
    places = [f"run_dir={out}", f"paths.cache={tmp_path / 'cache'}", "accelerator=cpu", "num_workers=0"]
    words: dict[str, tuple[str, list[object]]] = {
        "evaluate": ("evaluation.json", [checkpoint, *places]),
        "stress": ("stress.json", [checkpoint, *places, "severities=[1]", "angles=[]", "photographs=2"]),
        "report": ("report.md", [tiny_runs[0], f"out={out}", "resamples=10"]),
        "dashboard": ("dashboard.html", [tiny_runs[0], f"out={out}", "wandb=false"]),
    }
    file, given = words[name]
    held = results.held

    @contextmanager
    def filled(folder: Path, *names: str) -> Iterator[None]:
        with held(folder, *names):
            (folder / file).write_text("of another command")
            yield

    monkeypatch.setattr(results, "held", filled)
    assert command(name, *given) == 2
    assert f"{out} holds {file} already" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [file] and (out / file).read_text() == "of another command"
    monkeypatch.setattr(results, "held", held)
    (out / file).unlink()
    hold = f"""if True:
        import pathlib, sys
        from retinai.run.lock import held
        with held(pathlib.Path({str(out)!r}), "retinai other", "run_dir"):
            print("held", flush=True)
            sys.stdin.read()"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        assert command(name, *given) == 2
        other.communicate()
    assert "is in use by another" in capsys.readouterr().err
    assert not list(out.iterdir())
