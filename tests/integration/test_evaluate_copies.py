"""`retinai evaluate` on copies of the training set, and on split files that make no sense."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_network import SMALL_NETWORK

from retinai.encoders.checkpoint_io import AtomicCheckpointIO

Command = Callable[..., int]
TINY = [
    "data=aptos", "data.num_workers=0", *SMALL_NETWORK, "backbone.input_size=32",
    "trainer=cpu", "trainer.max_epochs=1", "logger=none", "calibrate=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def places(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> tuple[Path, Path]:
    """A run on 50 of the 60 photographs, and the copy that it was trained on."""
    folder = tmp_path_factory.mktemp("copies")
    small = shutil.copytree(synthetic_aptos, folder / "small")
    labels = pd.read_csv(small / "train.csv", dtype=str)
    labels.head(50).to_csv(small / "train.csv", index=False)
    words = [*TINY, f"data.root={small}", f"run_dir={folder / 'run'}", f"paths.cache={folder / 'cache'}"]
    assert command("train", *words, "test=false") == 0
    return folder / "run", small


@pytest.fixture
def evaluate(
    places: tuple[Path, Path],
    synthetic_aptos: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[set[str], str]]:
    """Return a function that evaluates on all 60 photographs and gives the ids and what was said."""

    def run(ckpt: Path, *more: str) -> tuple[set[str], str]:
        words = [f"ckpt={ckpt}", "data=aptos", f"data.root={synthetic_aptos}", "num_workers=0", "overwrite=true", *more]
        capsys.readouterr()
        assert (
            command("evaluate", *words, f"run_dir={tmp_path / 'out'}", f"paths.cache={places[0].parent / 'cache'}") == 0
        )
        table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str})
        return set(table["id"]), " ".join("".join(capsys.readouterr()).split())

    return run


def ids_of(run: Path, *parts: str) -> set[str]:
    split = pd.read_csv(run / "split.csv", dtype={"id": str})
    return set(split.loc[split["split"].isin(parts), "id"])


@pytest.mark.parametrize("moved", [False, True], ids=["in its run folder", "moved away"])
def test_new_photographs_of_a_larger_copy_are_tested_on(
    places: tuple[Path, Path], evaluate: Callable[..., tuple[set[str], str]], tmp_path: Path, moved: bool
) -> None:
    run, small = places
    ckpt = run / "checkpoints" / "best.ckpt"
    if moved:
        ckpt = Path(shutil.copy(ckpt, tmp_path / "mine.ckpt"))
    found, said = evaluate(ckpt)
    old = set(pd.read_csv(small / "train.csv", dtype=str)["id_code"])
    assert found & old == ids_of(run, "test") and len(found - old) >= 9  # one photograph may be a copy of another
    assert "10 photographs were not there; they take the owner's part, or else test: 10 in test" in said


def test_a_null_split_file_splits_anew_and_says_what_was_trained_on(
    places: tuple[Path, Path], evaluate: Callable[..., tuple[set[str], str]]
) -> None:
    ckpt = places[0] / "checkpoints" / "best.ckpt"
    found, said = evaluate(ckpt, "data.split_file=null")
    seen = len(found & ids_of(places[0], "train", "val"))
    assert seen and f"{seen} of the {len(found)} photographs of this part were trained or chosen on" in said
    assert "split anew, as data.split_file=null asks" in said


def test_what_is_not_used_and_what_is_not_known_is_said(
    places: tuple[Path, Path], evaluate: Callable[..., tuple[set[str], str]], tmp_path: Path
) -> None:
    ckpt = places[0] / "checkpoints" / "best.ckpt"
    assert "data.folds, data.fold: not used" in evaluate(ckpt, "data.folds=3", "data.fold=1")[1]
    content = torch.load(ckpt)
    del content["retinai"]["split"]
    old = tmp_path / "old.ckpt"
    AtomicCheckpointIO().save_checkpoint(content, old)
    assert "it is not known which photographs" in evaluate(old)[1]
    shutil.copy(places[0] / "split.csv", tmp_path / "split.csv")  # of a version that kept the split beside it only
    found, said = evaluate(old)
    assert "10 photographs were not there" in said and not found & ids_of(places[0], "train", "val")


def _part(ids: int, split: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table.index[:ids], "split"] = split
        return table

    return change


SPLIT_FILES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], list[str]]] = {
    "unlabelled in train": (
        lambda t: t.assign(split=t["split"].replace("predict", "train")), ["without a label", "predict or left_out"]
    ),
    "labelled in predict": (_part(2, "predict"), ["2 labelled photographs stand in predict"]),
    "no test": (lambda t: t.assign(split=t["split"].replace("test", "train")), ["no photographs in split 'test'"]),
    "no validation": (lambda t: t.assign(split=t["split"].replace("val", "train")), ["no photographs in split 'val'"]),
    "no training": (
        lambda t: t.assign(split=t["split"].replace("train", "left_out")), ["absent from the training part"]
    ),
    "twice": (lambda t: pd.concat([t, t.head(1)]), ["twice"]),
    "extra field": (lambda t: t.assign(**{"": "x"}), ["has no name"]),
    "second column": (lambda t: t.assign(**{"split ": "test"}), ["'split' stands there twice"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "told"), SPLIT_FILES.values(), ids=SPLIT_FILES.keys())
def test_split_files_that_make_no_sense_are_refused_before_the_training(
    places: tuple[Path, Path],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    told: list[str],
) -> None:
    run, small = places
    split = pd.read_csv(run / "split.csv", dtype=str, keep_default_na=False)
    change(split).to_csv(tmp_path / "split.csv", index=False)
    words = [*TINY, f"data.root={small}", f"data.split_file={tmp_path / 'split.csv'}", f"run_dir={tmp_path / 'run'}"]
    capsys.readouterr()
    assert command("train", *words, f"paths.cache={run.parent / 'cache'}") == 2
    said = capsys.readouterr().err
    assert all(word in said for word in told) and "Traceback" not in said, said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_whose_own_data_makes_no_sense_is_named(
    places: tuple[Path, Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(places[0] / "checkpoints" / "best.ckpt", weights_only=True)
    content["retinai"]["data"]["near_duplicates"] = 1e308
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "x.ckpt")
    assert command("evaluate", f"ckpt={tmp_path / 'x.ckpt'}", f"run_dir={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err
    assert f"checkpoint {tmp_path / 'x.ckpt'} names data that cannot be built (data.near_duplicates" in said, said
    assert "add data=" in said and not (tmp_path / "out").exists()
