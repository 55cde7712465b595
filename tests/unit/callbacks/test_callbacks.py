from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import pytest
import torch
from rich.console import Console
from tiny_run import TinyModule, state, train

from retinai.callbacks import make_callbacks
from retinai.callbacks.progress import EpochProgress, clock
from retinai.errors import ConfigError


class Killed(BaseException):
    """Stands for the end of a process in the middle of something; a real `kill -9` is in test_resume."""


class KillAt(lightning.Callback):
    def __init__(self, hook: str, epoch: int) -> None:
        def stop(trainer: lightning.Trainer, *rest: Any) -> None:
            if trainer.current_epoch == epoch:
                raise Killed

        setattr(self, hook, stop)


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns="seconds")


@pytest.mark.parametrize("options", [("callbacks=default",), ("callbacks=ema",)], ids=["default", "ema"])
def test_a_run_that_stopped_anywhere_ends_like_one_in_one_piece(tmp_path: Path, options: tuple[str, ...]) -> None:
    train(tmp_path / "whole", overrides=options)
    for hook in ("on_train_batch_end", "on_validation_batch_end", "on_train_epoch_end", "on_validation_end"):
        folder = tmp_path / hook
        with pytest.raises(Killed):
            train(folder, overrides=options, more=(KillAt(hook, 2),))
        train(folder, overrides=options, resume=True)
        for name in ("best.ckpt", "last.ckpt"):
            want, got = state(tmp_path / "whole/checkpoints" / name), state(folder / "checkpoints" / name)
            assert all(torch.equal(want[key], got[key]) for key in want), (hook, name)
        pd.testing.assert_frame_equal(read(tmp_path / "whole"), read(folder), check_exact=True)


def test_a_stop_between_best_and_last_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "whole", module=TinyModule([0.1, 0.2, 0.3, 0.25]))
    from retinai.callbacks.checkpoints import LastCheckpoint

    original = LastCheckpoint.on_train_epoch_end

    def stop(self: Any, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            raise Killed
        original(self, trainer, pl_module)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LastCheckpoint, "on_train_epoch_end", stop)
        train(tmp_path / "cut", module=TinyModule([0.1, 0.2, 0.3, 0.25]))
    assert torch.load(tmp_path / "cut/checkpoints/best.ckpt", weights_only=True)["epoch"] == 2
    assert torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    _, resumed = train(tmp_path / "cut", resume=True, module=TinyModule([0.1, 0.2, 0.3, 0.25]))
    assert resumed.checkpoint_callback is not None
    assert float(resumed.checkpoint_callbacks[0].best_model_score) == pytest.approx(0.3)
    want, got = state(tmp_path / "whole/checkpoints/best.ckpt"), state(tmp_path / "cut/checkpoints/best.ckpt")
    assert all(torch.equal(want[key], got[key]) for key in want)
    assert sorted(p.name for p in (tmp_path / "cut/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_schedules_by_epoch_resume_exactly(tmp_path: Path) -> None:
    train(tmp_path / "whole", module=TinyModule(interval="epoch"))
    with pytest.raises(Killed):
        train(tmp_path / "cut", module=TinyModule(interval="epoch"), more=(KillAt("on_train_batch_end", 2),))
    train(tmp_path / "cut", module=TinyModule(interval="epoch"), resume=True)
    pd.testing.assert_frame_equal(read(tmp_path / "whole"), read(tmp_path / "cut"), check_exact=True)


def test_a_moved_run_folder_resumes_without_a_warning(tmp_path: Path) -> None:
    scores = [0.5, 0.1, 0.2, 0.3]
    with pytest.raises(Killed):
        train(tmp_path / "here", module=TinyModule(scores), more=(KillAt("on_train_batch_end", 2),))
    shutil.move(tmp_path / "here", tmp_path / "there")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dirpath has changed.*")
        _, trainer = train(tmp_path / "there", module=TinyModule(scores), resume=True)
    best = trainer.checkpoint_callbacks[0]
    assert float(best.best_model_score) == 0.5  # type: ignore[attr-defined]
    assert best.best_model_path == str((tmp_path / "there/checkpoints/best.ckpt").resolve())  # type: ignore[attr-defined]
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("scores", "best_epoch"),
    [
        ([0.3, 0.5, 0.5, 0.4], 1),  # of equal values the earlier
        ([math.nan, 0.1, math.nan, 0.05], 1),  # NaN never replaces a value
        ([0.2, math.nan, 0.1, math.nan], 0),
        ([math.nan] * 4, 0),  # and there is a file all the same
        ([-0.3, -0.2, -0.4, -0.5], 1),  # kappa may be negative
    ],
)
def test_best_checkpoint(tmp_path: Path, scores: list[float], best_epoch: int) -> None:
    train(tmp_path, module=TinyModule(scores))
    folder = tmp_path / "checkpoints"
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == best_epoch
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 3
    assert sorted(p.name for p in folder.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_early_stopping_stays_stopped_after_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [0.5, 0.4, 0.4, 0.4, 0.9, 0.9]
    options = ("callbacks.early_stopping.patience=2",)
    train(tmp_path, overrides=options, module=TinyModule(scores), epochs=6)
    assert read(tmp_path)["epoch"].tolist() == [0, 1, 2]
    assert "early stopping: val/qwk has not risen for 2 epochs (best 0.5000)" in capsys.readouterr().out
    before = (tmp_path / "metrics.csv").read_bytes(), (tmp_path / "checkpoints/last.ckpt").read_bytes()
    train(tmp_path, overrides=options, module=TinyModule(scores), epochs=6, resume=True)
    assert ((tmp_path / "metrics.csv").read_bytes(), (tmp_path / "checkpoints/last.ckpt").read_bytes()) == before


def test_resuming_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    before = (tmp_path / "metrics.csv").read_bytes(), (tmp_path / "checkpoints/last.ckpt").read_bytes()
    _, trainer = train(tmp_path, epochs=2, resume=True)
    assert ((tmp_path / "metrics.csv").read_bytes(), (tmp_path / "checkpoints/last.ckpt").read_bytes()) == before
    assert trainer.current_epoch == 2


def test_metrics_csv_has_a_row_per_epoch(tmp_path: Path) -> None:
    train(tmp_path, epochs=3)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table.columns.tolist() == ["epoch", "step", "lr", "seconds", "train/loss", "val/loss", "val/qwk"]
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["step"].tolist() == [5, 10, 15]
    reference = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-2), 2e-2, total_steps=15
    )
    rates = []
    for _ in range(14):
        reference.optimizer.step()
        reference.step()
        rates.append(reference.get_last_lr()[0])
    assert table["lr"].tolist()[:2] == pytest.approx([rates[4], rates[9]])


def test_progress_prints_one_line_per_epoch_in_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, epochs=2, module=TinyModule([0.3, 0.2]))
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  train/loss ")
    assert "val/qwk 0.3000  best 0.3000 (epoch 1)" in lines[0] and "left" in lines[0]
    assert "val/qwk 0.2000  best 0.3000 (epoch 1)" in lines[1] and "left" not in lines[1]


def test_progress_shows_a_bar_on_a_terminal(tmp_path: Path) -> None:
    console = Console(force_terminal=True, width=120, record=True, file=(tmp_path / "terminal").open("w"))
    train(
        tmp_path,
        epochs=1,
        overrides=("callbacks=none",),
        more=(EpochProgress("val/qwk", console),),
    )
    console.file.close()
    assert "5/5" in (tmp_path / "terminal").read_text() and "epoch 1/1" in console.export_text()


def test_durations() -> None:
    assert [clock(s) for s in (0.4, 59, 65, 7805)] == ["0s", "59s", "1m 05s", "2h 10m"]


def test_averaged_weights_are_validated_and_kept(tmp_path: Path) -> None:
    seen = []

    class Watch(TinyModule):
        def on_validation_epoch_end(self) -> None:
            seen.append(self.network[0].weight.detach().clone())

    train(tmp_path, overrides=("callbacks=ema", "callbacks.averaging.decay=0.9"), module=Watch(), epochs=2)
    kept = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert torch.equal(kept["state_dict"]["network.0.weight"], seen[1])
    assert not torch.equal(kept["current_model_state"]["network.0.weight"], seen[1])


def test_average_is_the_recursion_by_hand() -> None:
    from retinai.callbacks.averaging import AveragedWeights

    callback = AveragedWeights(decay=0.5)
    average = callback._kwargs["avg_fn"]
    value, expected = torch.tensor([1.0]), 1.0
    for n, new in enumerate((3.0, 5.0, 2.0, 8.0), start=1):
        value = average(value, torch.tensor([new]), torch.tensor(n))
        decay = min(0.5, (1 + n) / (10 + n))
        expected = expected * decay + new * (1 - decay)
    assert float(value) == pytest.approx(expected)
    assert int(average(torch.tensor(3), torch.tensor(9), 1)) == 9


def test_needed_callbacks_cannot_be_switched_off(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.best cannot be switched off"):
        make_callbacks({"best": None, "last": {"_target_": "x"}, "metrics_csv": {"_target_": "x"}}, tmp_path, "val/qwk")


def test_callbacks_are_ordered_and_watch_what_the_module_names(tmp_path: Path) -> None:
    from tiny_run import compose_sections

    nodes = compose_sections(("callbacks=ema", "callbacks.progress=null"))["callbacks"]
    built = make_callbacks(nodes, tmp_path, "val/loss", "min")
    names = [type(callback).__name__ for callback in built]
    assert names == ["MetricsCsv", "StopEarly", "AveragedWeights", "BestCheckpoint", "LastCheckpoint"]
    assert (built[3].monitor, built[3].mode) == ("val/loss", "min")  # type: ignore[attr-defined]
