"""A generator is trained, makes photographs, and these join a training, unless they know what is measured on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from small_network import SMALL_NETWORK

Command = Callable[..., int]
TINY = ["trainer=cpu", "trainer.max_epochs=1", "data.num_workers=0", "logger=none"]


@pytest.fixture(scope="module")
def words(synthetic_odir_course: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("generated") / "cache"
    return [
        "data=odir",
        f"data.root={synthetic_odir_course}",
        "data.split=patient",
        "data.val_fraction=0.4",
        f"paths.cache={cache}",
        *TINY,
    ]


@pytest.fixture(scope="module")
def generator(words: list[str], command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae") / "run"
    tiny = ["model.widths=[4,8]", "model.latent=4", *SMALL_NETWORK]
    assert command("train", "model=vae", *words, *tiny, "backbone.input_size=32", f"run_dir={folder}") == 0
    judged = json.loads((folder / "generation.json").read_text())
    assert set(judged["classes"]) == {"D", "G", "A"} and "frechet" in judged["classes"]["D"]
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def made(generator: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "photographs"
    assert command("synthesize", f"from={generator}", "class=G", "n=6", "seed=2", f"out={folder}") == 0
    return folder


def train(command: Command, words: list[str], made: Path, folder: Path, *more: str) -> int:
    tiny = [*SMALL_NETWORK, "backbone.input_size=32", "loss=bce", "calibrate=false"]
    return command("train", *words, *tiny, f"data.extra_train={made}", f"run_dir={folder}", *more)


def test_photographs_are_written_with_where_they_came_from(made: Path) -> None:
    table = pd.read_csv(made / "photographs.csv")
    assert table["target"].tolist() == ["G"] * 6
    assert all(Image.open(made / name).size == (32, 32) for name in table["file"])
    facts = json.loads((made / "provenance.json").read_text())
    assert facts["class"] == "G" and facts["generator"].startswith("vae:") and len(facts["seen"]) > 10


def test_the_same_seed_gives_the_same_photographs(
    made: Path, generator: Path, command: Command, tmp_path: Path
) -> None:
    assert command("synthesize", f"from={generator}", "class=G", "n=2", "seed=2", f"out={tmp_path / 'o'}") == 0
    for name in ("G_00000.png", "G_00001.png"):
        assert (tmp_path / "o" / name).read_bytes() == (made / name).read_bytes()


def test_they_join_the_training_part_and_the_split_tells(
    words: list[str], made: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(command, words, made, run) == 0
    split = pd.read_csv(run / "split.csv", dtype=str)
    extra = split[split["source"].str.startswith("vae:", na=False)]
    assert len(extra) == 6 and set(extra["split"]) == {"train"} and set(extra["target"]) == {"G"}
    # The same checkpoint is measured again without the folder, and its split file is taken back.
    checkpoint = run / "checkpoints" / "best.ckpt"
    again = ["num_workers=0", "accelerator=cpu", f"run_dir={tmp_path / 'e'}", words[4]]
    moved = Path(shutil.move(made, tmp_path / "gone"))
    try:
        assert command("evaluate", f"ckpt={checkpoint}", *again) == 0
    finally:
        shutil.move(moved, made)
    figures = [json.loads((f / "metrics.json").read_text())["macro_f1"]["value"] for f in (run, tmp_path / "e")]
    assert figures[0] == figures[1]
    assert train(command, words, made, tmp_path / "follow", f"data.split_file={run / 'split.csv'}", "test=false") == 0


def edited(made: Path, folder: Path, **changes: object) -> Path:
    """Return a copy of the folder with another provenance."""
    copy = Path(shutil.copytree(made, folder))
    facts = json.loads((copy / "provenance.json").read_text()) | changes
    (copy / "provenance.json").write_text(json.dumps(facts))
    return copy


def test_a_generator_that_saw_what_is_measured_is_refused(
    words: list[str], made: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(command, words, made, tmp_path / "run", "data.split_seed=5") == 2
    assert "photographs of this run's validation or test part" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_photograph_of_the_test_part_in_the_folder_is_refused(
    words: list[str], made: Path, synthetic_odir_course: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run, copy = tmp_path / "run", Path(shutil.copytree(made, tmp_path / "copy"))
    assert train(command, words, made, run, "test=false") == 0
    split = pd.read_csv(run / "split.csv", dtype=str)
    tested = split.loc[split["split"] == "test", "id"].iloc[0]
    (photograph,) = synthetic_odir_course.glob(f"images/*/{tested}")
    Image.open(photograph).save(copy / "G_00000.png")  # other bytes, the same picture
    assert train(command, words, copy, tmp_path / "next") == 2
    said = capsys.readouterr().err
    assert "are in the folder, or nearly so" in said and tested in said


def _unexplained(made: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(made, folder))
    (copy / "provenance.json").unlink()
    return copy


def _with_file(made: Path, folder: Path, content: str | None) -> Path:
    copy = Path(shutil.copytree(made, folder))
    (copy / "G_00003.png").unlink() if content is None else (copy / "G_00003.png").write_text(content)
    return copy


def _provenance(made: Path, folder: Path, content: str | None) -> Path:
    """Return a copy of the folder with another text as provenance, or with a pipe in its place."""
    copy = _unexplained(made, folder)
    file = copy / "provenance.json"
    os.mkfifo(file) if content is None else file.write_text(content)
    return copy


Change = Callable[[Path, Path], Path]
FOLDERS: dict[str, tuple[Change, str]] = {
    "other classes": (
        lambda made, there: edited(made, there, classes=["G", "D", "A"]),
        "has the classes G, D, A, the data set has D, G, A",
    ),
    "damaged": (lambda made, there: edited(made, there, seen="all"), "is damaged"),
    "hashes that are none": (lambda made, there: edited(made, there, seen=[["0" * 64, "zz"]]), "is damaged: seen.0.1"),
    "classes that are none": (lambda made, there: edited(made, there, classes=5), "is damaged: classes"),
    "nested": (lambda made, there: _provenance(made, there, "[" * 100_000), "is not readable as JSON: "),
    "a pipe": (lambda made, there: _provenance(made, there, None), "a named pipe, not a file; make"),
    "missing": (lambda made, there: there, "is no folder"),
    "without provenance": (_unexplained, "holds no provenance.json"),
    "a photograph missing": (lambda made, there: _with_file(made, there, None), "names 1 photographs that are not"),
    "no photograph": (lambda made, there: _with_file(made, there, "no"), "cannot be read"),
}


@pytest.mark.parametrize(("change", "reason"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_used_is_refused(
    change: Change, reason: str, words: list[str], made: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert train(command, words, change(made, tmp_path / "there"), tmp_path / "run") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["class=M"], "class=M is unknown to this generator; it makes D, G, A"),
        ([], "class= is missing; it makes D, G, A"),
        (["class=G", "size=64"], "the generator makes photographs of 32 pixels"),
        (["class=G", "camera=zeiss"], "masks= and camera= are of drawn cohorts"),
    ],
)
def test_what_a_generator_cannot_make_is_refused(
    more: list[str], reason: str, generator: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("synthesize", f"from={generator}", "n=2", f"out={tmp_path / 'o'}", *more) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_class_without_a_generator_and_a_grader_are_refused(
    generator: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    assert command("synthesize", "class=G", "n=40", f"out={tmp_path / 'o'}") == 2
    assert "is of from=CKPT" in capsys.readouterr().err
    assert command("synthesize", f"from={tiny_checkpoint}", "n=2", f"out={tmp_path / 'o'}") == 2
    assert "makes no photographs; train model=vae" in capsys.readouterr().err
    assert command("evaluate", f"ckpt={generator}", f"run_dir={tmp_path / 'e'}") == 2
