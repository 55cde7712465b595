"""Values that are not allowed, through the commands: all told at once, before anything is read or made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

TRAIN = {
    "trainer.devices=0": "a whole number from 1",
    "trainer.strategy=ddp2": "did you mean ddp?",
    "trainer.precision=foo": "bf16-mixed",
    "trainer.limit_train_batches=1.5": "above 0 up to 1",
    "trainer.limit_val_batches=0": "above 0 up to 1",
    "trainer.num_nodes=0": "a whole number from 1",
    "+trainer.fast_dev_run=true": "trainer=smoke",
    "seed=null": "0 to 4294967295",
    "data.split_seed=foo": "0 to 4294967295",
    "data.limit=1": "from 2",
    "data.near_duplicates=maybe": "true, false",
    "data.preprocess.crop=circle": "fov, none",
    "test=maybe": "true, false",
    "calibrate=5": "true, false",
    "optimizer.lr=inf": "above 0",
    "run_dir=": "a path, not empty",
    "paths.cache=null": "a path, not empty",
}


def test_a_training_tells_all_bad_values_at_once_and_makes_nothing(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", *TRAIN) == 2
    lines = capsys.readouterr().err.removeprefix("error: ").splitlines()
    assert len(lines) == len(TRAIN), lines
    for word, valid in TRAIN.items():
        key = word.lstrip("+").partition("=")[0]
        assert any(line.startswith(f"- {key}") and valid in line for line in lines), (key, lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "ckpt=x.ckpt", "images=", "out=x.csv"], "images="),
        (["runs", "limit=-1"], "limit=-1"),
        (["train", "data.split_file=gone.csv"], "the split file gone.csv does not exist"),
        (["train", "attention=cbam", "attention.kernel_size=4"], "attention.kernel_size=4 is even"),
        (["train", "+callbacks.mine={_target_:retinai.callbacks.progress.EpochProgress}"], "one of each class"),
        (["train", "backbone.architecture=resnet18.nosuch"], "a tag that timm does not know (known: resnet18.a1_in1k"),
        (["train", "images=~/photographs"], "with special characters in quotes inside those of the shell: \"images='~"),
        (["train", "model.loss=foo"], "'foo' stands in the place of a section"),
        (["train", "model.scheduler=[]"], "[] stands in the place of a section with the keys of SchedulerSettings"),
        (["train", "model.backbone=foo"], "'foo' stands in the place of a section: of model.backbone="),
        (["train", "+callbacks.x={_target_:pathlib.Path}"], "is no Callback"),
        (
            ["train", "+callbacks.x={_target_:lightning.pytorch.callbacks.Timer,duration:foo}"],
            "callbacks.x cannot be built with these values",
        ),
        (["benchmark", "students=onnx-fp32"], "did you mean [onnx-fp32]?"),
        (["report", "some", "resamples=0"], "resamples=0"),
        (["report", "some", "out=file"], "is a file"),
        (["report", "some", "out=comparison.md"], "folder"),
        (["train", "trainer.accelerator=gpu"], "trainer=cpu"),
        (["train", "trainer.limit_train_batches=0.001"], "trainer.limit_train_batches=0.001"),
        (["train", "trainer.limit_val_batches=0.001"], "trainer.limit_val_batches=0.001"),
        (["train", "trainer.limit_val_batches=0.001", "trainer.num_nodes=0"], "num_nodes"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_other_values_are_refused_before_work_begins(
    words: list[str],
    told: str,
    command: Callable[..., int],
    synthetic_aptos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "file").touch()
    if words[0] == "train":
        words = ["train", *SMALL_NETWORK, *words[1:], "data=aptos", f"data.root={synthetic_aptos}",
                 "backbone.input_size=32", "data.num_workers=0", "run_dir=run"]  # fmt: skip
    assert command(*words) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said, said
    assert not (tmp_path / "run").exists() and not (tmp_path / "comparison.md").exists()
