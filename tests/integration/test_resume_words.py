"""`resume=true run_dir=...`: the run's own configuration and data, whatever is not repeated; contradictions refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

Command = Callable[..., int]
TINY = [
    "backbone=resnet18", "backbone.weights=none", "backbone.architecture=test_resnet", "backbone.input_size=24",
    "trainer=cpu", "logger=none", "data.num_workers=0", "data.batch_size=8", "trainer.max_epochs=1", "test=false",
    "calibrate=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def begun(synthetic_idrid: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: fold 1 of IDRiD, one epoch, finished; tests use copies."""
    folder = tmp_path_factory.mktemp("begun")
    words = ["data=idrid", f"data.root={synthetic_idrid}", "data.folds=2", "data.fold=1", "seed=3", *TINY]
    assert command("train", *words, f"run_dir={folder / 'run'}", f"paths.cache={folder / 'cache'}") == 0
    return folder / "run"


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "run"))


def content(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("config.yaml", "split.csv", "checkpoints/last.ckpt")}


def test_a_resumed_run_takes_its_own_configuration(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before, words = content(run), json.loads((run / "run.json").read_text())["words"]
    assert command("train", "resume=true", f"run_dir={run}") == 0
    assert content(run) == before
    record = json.loads((run / "run.json").read_text())
    facts = {key: record[key] for key in ("data", "folds", "fold", "seed", "backbone", "resumed", "status")}
    assert facts == {
        "data": "idrid", "folds": 2, "fold": 1, "seed": 3, "backbone": "resnet18", "resumed": 1, "status": "finished"
    }  # fmt: skip
    assert record["words"] == words and "data=idrid" in words
    assert "resume: going on from" in capsys.readouterr().out


def test_a_run_that_is_older_than_a_key_goes_on(run: Path, command: Command) -> None:
    lines = (run / "config.yaml").read_text().splitlines(keepends=True)
    left = [line for line in lines if not line.startswith(("sweep:", "study:", "max_jobs:", "calibrate:"))]
    assert len(left) < len(lines)
    (run / "config.yaml").write_text("".join(left))
    assert command("train", "resume=true", f"run_dir={run}") == 0


REPEATED = [
    ["data=idrid", "data.folds=2", "data.fold=1", "seed=3", *TINY],
    ["data=idrid"],
    ["trainer=cpu", "trainer.max_epochs=1"],
    ["backbone=resnet18"],
    ["optimizer=adamw", "loss=cross_entropy", "phase=finetune"],  # defaults that nobody typed
    ["trainer=auto"],  # differs in the accelerator only
    ["data.num_workers=1", "trainer.accelerator=auto", "logger.name=none", "debug=true"],
]


@pytest.mark.parametrize("words", REPEATED, ids=lambda words: words[0])
def test_words_may_be_repeated_and_the_machine_may_differ(run: Path, command: Command, words: list[str]) -> None:
    before = content(run)
    assert command("train", "resume=true", f"run_dir={run}", *words) == 0
    assert content(run) == before


CONTRADICTING = [
    (["data=synthetic"], ["data=synthetic", "the run has data=idrid"]),
    (["data.fold=0"], ["data.fold=0", "the run has data.fold=1"]),
    (["seed=4", "optimizer.lr=0.5"], ["seed=4", "seed=3", "optimizer.lr=0.5", "the run has optimizer.lr="]),
    (["trainer.max_epochs=5"], ["trainer.max_epochs=5", "the run has trainer.max_epochs=1", "+init=ckpt"]),
    (["trainer=gpu"], ["trainer=gpu", "trainer.precision=bf16-mixed", "the run has trainer=cpu"]),
    (["loss=focal"], ["loss=focal", "the run has loss=cross_entropy"]),
    (["+init=idrid_ckpt"], ["+init=idrid_ckpt", "the run has no init"]),
    (["+experiment=idrid_baseline"], ["+experiment=idrid_baseline", "the run has no experiment"]),
    (["data.preprocess.ben_graham=true"], ["data.preprocess.ben_graham=true", "ben_graham=False"]),
    (["~seed"], ["~seed", "the run has seed=3"]),
]


@pytest.mark.parametrize(("words", "said"), CONTRADICTING, ids=lambda words: words[0])
def test_contradicting_words_are_refused_by_name(
    run: Path, command: Command, words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before, record = content(run), (run / "run.json").read_bytes()
    assert command("train", "resume=true", f"run_dir={run}", *words) == 2
    error = capsys.readouterr().err
    assert all(text in error for text in said), error
    assert content(run) == before and (run / "run.json").read_bytes() == record


def test_other_data_is_refused_and_moved_data_is_not(
    run: Path, synthetic_idrid: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(synthetic_idrid, tmp_path / "moved"))
    assert command("train", "resume=true", f"run_dir={run}", f"data.root={moved}") == 0
    before = content(run)
    table = next(moved.glob("B. Disease Grading/2. Groundtruths/a.*.csv"))
    labels = pd.read_csv(table, dtype=str)
    labels.iloc[0, 1] = str((int(labels.iloc[0, 1]) + 1) % 5)
    labels.to_csv(table, index=False)
    capsys.readouterr()
    assert command("train", "resume=true", f"run_dir={run}", f"data.root={moved}") == 2
    assert "was begun with other photographs, labels or splits" in capsys.readouterr().err
    assert content(run) == before


def test_a_section_that_names_no_class_is_told(run: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    config = OmegaConf.load(run / "config.yaml")
    config.callbacks.best._target_ = "../../x"
    OmegaConf.save(config, run / "config.yaml")
    assert command("train", "resume=true", f"run_dir={run}") == 2
    assert "no usable _target_" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "text", "list", "references", "nowhere", "pipe"])
def test_a_configuration_that_cannot_be_read_is_named(
    run: Path, command: Command, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run / "config.yaml"
    config.unlink()
    if damage == "pipe":
        os.mkfifo(config)
    elif damage != "missing":
        texts = {"text": "a: [", "list": "- a\n", "references": "a: &a [1]\nb: [*a, *a]\n", "nowhere": "a: ${nosuch}\n"}
        config.write_text(texts[damage])
    assert command("train", "resume=true", f"run_dir={run}") == 2
    assert "config.yaml" in capsys.readouterr().err


def test_words_of_another_composition_are_told_that_none_are_needed(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "resume=true", f"run_dir={run}", "model.mask_size=64") == 2
    assert "resume=true run_dir=FOLDER goes on with the run's own configuration" in capsys.readouterr().err


def test_a_configuration_that_makes_no_sense_is_named(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run / "config.yaml"
    whole = config.read_text()
    for before, after, told in (
        ("retinai.losses.", "retinai.losses.nosuch.", "retinai.losses.nosuch"),
        ("  cache:", "  cash:", "cache"),
    ):
        config.write_text(whole.replace(before, after))
        assert command("train", "resume=true", f"run_dir={run}") == 2
        said = capsys.readouterr().err
        assert told in said and f"(the run's own configuration is {config})" in said, said


def test_a_sweep_is_resumed_run_by_run(
    synthetic_idrid: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    words = ["data=idrid", f"data.root={synthetic_idrid}", "data.folds=2", "data.fold=0,1", *TINY]
    places = [f"run_dir={sweep}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("train", "-m", *words, *places) == 0
    shutil.rmtree(sweep / "1")  # the sweep was killed before it came to its second run
    split = (sweep / "0" / "split.csv").read_bytes()
    assert command("train", "resume=true", "data.fold=0,1", *places, "-m") == 2
    error = capsys.readouterr().err
    assert "had not begun" in error and "data=idrid" in error and not (sweep / "1").exists()
    assert command("train", "resume=true", *words, *places, "-m") == 0
    records = [json.loads((sweep / job / "run.json").read_text()) for job in "01"]
    assert [(r["data"], r["fold"], r["resumed"]) for r in records] == [("idrid", 0, 2), ("idrid", 1, 0)]
    assert (sweep / "0" / "split.csv").read_bytes() == split
    assert command("train", "resume=true", *places, "data.fold=1,0", "-m") == 2
    assert "data.fold=1 (the run has data.fold=0)" in capsys.readouterr().err
    # A run of a sweep is a run like any other.
    assert command("train", "resume=true", f"run_dir={sweep / '1'}") == 0
    assert json.loads((sweep / "1" / "run.json").read_text())["fold"] == 1
