"""Faults of the user's, through the commands: code 2, one sentence that names the thing, nothing half-written."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_network import SMALL_NETWORK

from retinai.cli import main
from retinai.files import atomic_path

TINY = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none"]
TINY += ["data.num_workers=0", "data.batch_size=8", "trainer.max_epochs=1"]


@pytest.fixture
def cohort(synthetic_aptos: Path, tmp_path: Path) -> Path:
    """A copy of the APTOS tree that a test may spoil."""
    return Path(shutil.copytree(synthetic_aptos, tmp_path / "aptos"))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command, checks that it was refused well, and returns what it said."""

    def run(*words: str | Path) -> str:
        run_dir = tmp_path / "run"
        given = [*map(str, words), f"run_dir={run_dir}", f"paths.cache={tmp_path / 'cache'}"]
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(given)
        said = capsys.readouterr()
        assert end.value.code == 2, said.err
        # A progress bar may come before the sentence; on a log it is one line.
        sentence = said.err[said.err.index("error: ") :]
        assert "Traceback" not in said.err + said.out
        assert not run_dir.exists() or not any(run_dir.iterdir()), sorted(run_dir.rglob("*"))
        return sentence

    return run


def train(root: Path, *more: str) -> list[str]:
    return ["train", "data=aptos", f"data.root={root}", *TINY, *more]


def edit(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pd.read_csv(root / "train.csv", dtype=str)
    change(table).to_csv(root / "train.csv", index=False)


def photograph(root: Path, number: int = 0) -> Path:
    name = pd.read_csv(root / "train.csv", dtype=str)["id_code"][number]
    return root / "train_images" / f"{name}.png"


def with_value(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


def test_missing_root_and_file(refused: Any, cohort: Path, tmp_path: Path) -> None:
    assert "nowhere" in refused(*train(tmp_path / "nowhere"))
    (cohort / "train.csv").unlink()
    assert "train.csv" in refused(*train(cohort))


def test_missing_photograph(refused: Any, cohort: Path) -> None:
    gone = photograph(cohort)
    gone.unlink()
    assert gone.name in refused(*train(cohort))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda t: t.rename(columns={"diagnosis": "grade"}), ["train.csv", "diagnosis"]),
        (with_value(4, "diagnosis", "5"), ["train.csv", "5"]),
        (with_value(4, "diagnosis", "mild"), ["train.csv", "mild"]),
        (with_value(4, "diagnosis", "1.5"), ["train.csv", "1.5"]),
        (lambda t: t.head(0), ["train.csv"]),
    ],
    ids=["columns", "range", "word", "fraction", "no rows"],
)
def test_wrong_tables(refused: Any, cohort: Path, change: Any, names: list[str]) -> None:
    edit(cohort, change)
    said = refused(*train(cohort))
    assert all(name in said for name in names), said


def test_one_id_with_two_labels(refused: Any, cohort: Path) -> None:
    table = pd.read_csv(cohort / "train.csv", dtype=str)
    again = table.head(1).assign(diagnosis=str((int(table["diagnosis"][0]) + 1) % 5))
    pd.concat([table, again]).to_csv(cohort / "train.csv", index=False)
    assert table["id_code"][0] in refused(*train(cohort))


def test_a_class_absent_from_train_is_said(refused: Any, cohort: Path) -> None:
    edit(cohort, lambda t: t[t["diagnosis"] != "4"])
    said = refused(*train(cohort, "loss=class_balanced"))
    assert "proliferative" in said and "data.split_seed" in said


def _png_bomb(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def _spoil(kind: str, path: Path) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no photograph\n")
    elif kind == "black":
        cv2.imwrite(str(path), np.zeros((112, 112, 3), np.uint8))
    elif kind == "bomb":
        _png_bomb(path)
    elif kind == "truncated":
        picture = Image.open(path).convert("RGB")
        picture.save(path.with_suffix(".jpg"), quality=90)
        content = path.with_suffix(".jpg").read_bytes()
        path.with_suffix(".jpg").unlink()
        path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("kind", ["empty", "text", "black", "bomb", "truncated"])
def test_bad_photographs_are_named_by_training(refused: Any, cohort: Path, kind: str) -> None:
    path = photograph(cohort)
    _spoil(kind, path)
    assert path.name in refused(*train(cohort))


def test_bad_photographs_are_skipped_and_counted_on_request(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, kind in enumerate(["empty", "text", "black"]):
        _spoil(kind, photograph(cohort, number))
    arguments = train(cohort, "data.on_bad_image=skip", f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'c'}")
    with pytest.raises(SystemExit) as end:
        main([*arguments, "trainer.limit_train_batches=1"])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "note: 3 unusable photographs left out" in said.err
    assert (tmp_path / "run" / "metrics.json").exists()


def test_unusual_photographs_are_read(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [photograph(cohort, number) for number in range(4)]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    pictures[0].convert("L").save(paths[0])
    pictures[1].convert("RGBA").save(paths[1])
    cv2.imwrite(str(paths[2]), np.asarray(pictures[2])[..., ::-1].astype(np.uint16) * 257)
    pictures[3].convert("P").save(paths[3])
    with pytest.raises(SystemExit) as end:
        main(["prepare", "data=aptos", f"data.root={cohort}", "workers=1", f"paths.cache={tmp_path / 'cache'}",
              f"run_dir={tmp_path / 'findings'}", *SMALL_NETWORK])  # fmt: skip
    assert end.value.code == 0, capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "findings" / "problems.csv")) == 0


def test_unknown_keys_and_senseless_combinations_are_all_told_at_once(refused: Any, cohort: Path) -> None:
    said = refused(*train(cohort, "data.batchsize=3", "loss=focall"))
    assert "batchsize" in said and "batch_size" in said and "focall" in said and "focal" in said
    said = refused(*train(cohort, "sampler=weighted", "loss=class_balanced"))
    assert "allow_double_balancing=true" in said
    assert "max_epochs" in refused(*train(cohort, "trainer.max_epochs=-1"))


class Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


@pytest.fixture(scope="module")
def finished(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of one epoch."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.raises(SystemExit) as end:
        main([*train(synthetic_aptos), "test=false", f"run_dir={folder / 'run'}", f"paths.cache={folder / 'cache'}"])
    assert end.value.code == 0
    return folder / "run"


def test_checkpoints_that_cannot_be_used(
    refused: Any, cohort: Path, finished: Path, synthetic_odir: Path, tmp_path: Path
) -> None:
    def evaluate(ckpt: Path, *data: str) -> str:
        return str(refused("evaluate", f"ckpt={ckpt}", *(data or ("data=aptos", f"data.root={cohort}"))))

    good = finished / "checkpoints" / "best.ckpt"
    assert "none.ckpt" in evaluate(tmp_path / "none.ckpt")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(good.read_bytes()[:5000])
    assert "cut.ckpt" in evaluate(cut)
    victim = tmp_path / "executed"
    torch.save({"state_dict": Hostile(victim)}, tmp_path / "hostile.ckpt")
    assert "hostile.ckpt" in evaluate(tmp_path / "hostile.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Hostile(victim)))
    assert "plain.ckpt" in evaluate(tmp_path / "plain.ckpt")
    assert not victim.exists()
    said = evaluate(good, "data=odir", f"data.root={synthetic_odir}")
    assert "dr_grade" in said and "odir" in said


def test_run_folders_are_not_overwritten(
    finished: Path, synthetic_aptos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = (finished / "run.json").read_bytes()
    arguments = train(synthetic_aptos, f"paths.cache={tmp_path / 'cache'}")
    for more, reason in (
        ([f"run_dir={finished}"], "already holds a run"),
        ([f"run_dir={tmp_path / 'empty'}", "resume=true"], "holds no run"),
        (["resume=true"], "needs run_dir="),
    ):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *more])
        assert end.value.code == 2
        assert reason in capsys.readouterr().err
    assert (finished / "run.json").read_bytes() == record


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full")
def test_a_full_disk_while_training(synthetic_aptos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()

    with contextlib.suppress(KeyError), atomic_path(run / "metrics.csv") as temporary:
        raise KeyError  # only its name is wanted: there the metrics grow before they take their place
    temporary.symlink_to("/dev/full")
    with pytest.raises(SystemExit) as end:
        main([*train(synthetic_aptos), f"run_dir={run}", f"paths.cache={tmp_path / 'cache'}"])
    said = capsys.readouterr()
    assert end.value.code == 2
    assert "the disk is full" in said.err and "metrics.csv" in said.err and "Traceback" not in said.err
    assert not (run / "metrics.csv").exists()
