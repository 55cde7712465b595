from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest
import torch

from retinai.encoders.checkpoint_io import AtomicCheckpointIO, remove_torn_checkpoints
from retinai.errors import CheckpointError, UserError
from retinai.files import atomic_path


def test_round_trip_keeps_values_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"w": torch.arange(3), "epoch": 2}, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert loaded["epoch"] == 2 and torch.equal(loaded["w"], torch.arange(3))
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device that is always full")
def test_full_disk_is_one_sentence_and_the_former_file_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    with contextlib.suppress(KeyError), atomic_path(path) as temporary:
        raise KeyError  # only its name is wanted: there the new file would grow
    temporary.symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full") as error:
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert str(path) in str(error.value)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_truncated_and_missing_and_foreign_files_are_said(tmp_path: Path) -> None:
    whole, cut = tmp_path / "last.ckpt", tmp_path / "cut.ckpt"
    AtomicCheckpointIO().save_checkpoint({"w": torch.zeros(1000)}, whole)
    for size in (0, 10, 500, 2000):
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(CheckpointError, match=r"damaged|an empty file"):
            AtomicCheckpointIO().load_checkpoint(cut)
    cut.write_text("not a checkpoint\n")
    with pytest.raises(CheckpointError, match="damaged"):
        AtomicCheckpointIO().load_checkpoint(cut)
    with pytest.raises(CheckpointError, match="does not exist"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "none.ckpt")


class Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


def test_hostile_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    victim = tmp_path / "executed"
    torch.save({"state_dict": Hostile(victim)}, tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Hostile(victim)))
    for name in ("zip.ckpt", "plain.ckpt"):
        with pytest.raises(CheckpointError, match="nothing was executed"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / name)
    assert not victim.exists()


def test_torn_files_are_removed(tmp_path: Path) -> None:
    for name in (".last.123.ckpt", ".best.7.ckpt", "best.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(b"x")
    assert remove_torn_checkpoints(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
