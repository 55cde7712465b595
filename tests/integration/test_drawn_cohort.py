"""A cohort that was drawn into the cache and is no longer whole: told with what mends it, which is not `data.root`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]
TRAINING = ["data=synthetic", "data.n=30", "data.size=64", *SMALL_NETWORK, "backbone.input_size=32", "logger=none",
            "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false",
            "calibrate=false"]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A cache folder with a cohort."""
    folder = tmp_path_factory.mktemp("drawn")
    assert command("train", *TRAINING, f"run_dir={folder / 'run'}", f"paths.cache={folder / 'cache'}") == 0
    return folder / "cache"


def photograph(cohort: Path) -> Path:
    return min((cohort / "train_images").iterdir())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda cohort: (cohort / "train.csv").unlink(), "train.csv does not exist"),
        (lambda cohort: (cohort / "train.csv").write_bytes(b""), "train.csv is empty"),
        (lambda cohort: (cohort / "train.csv").write_text("a,b\n1,2\n"), "'id_code', 'diagnosis' is missing"),
        (lambda cohort: photograph(cohort).unlink(), "1 of 35 photographs are missing"),
        (lambda cohort: photograph(cohort).write_bytes(b"x"), "1 photographs of synthetic cannot be used"),
    ],
    ids=["no table", "empty table", "other table", "no photograph", "bad photograph"],
)
def test_a_cohort_that_is_not_whole_says_how_it_is_drawn_again(
    spoil: Callable[[Path], object], told: str, drawn: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(drawn, tmp_path / "cache")
    cohort = next((tmp_path / "cache" / "synthetic").iterdir())
    spoil(cohort)
    words = [*TRAINING, f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("train", *words) == 2
    said = capsys.readouterr().err
    assert told in said and "data.root" not in said, said
    assert f"remove {cohort}, and the same command draws it again" in said
    assert not (tmp_path / "run").exists()
    shutil.rmtree(cohort)
    assert command("train", *words) == 0
