"""Pre-training by the public commands: several data sets without labels, the encoder's file, going on, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_network import SMALL_NETWORK

from retinai.encoders.encoder_file import read_provenance
from retinai.errors import UserError
from retinai.pretraining.module import TokenReconstruction

Run = Callable[..., int]


@pytest.fixture(scope="module")
def words(synthetic_aptos: Path, synthetic_odir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("pretraining")
    return [
        "model=token_reconstruction", "phase=pretrain", "data=[aptos,odir]",
        f"data.sources.aptos.root={synthetic_aptos}",
        f"data.sources.odir.root={synthetic_odir}", "data.num_workers=0", "data.batch_size=16",
        "backbone=efficientnet_lite0", "backbone.input_size=64", "trainer=cpu", "trainer.max_epochs=2", "logger=none",
        f"paths.outputs={place}", f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    assert command("train", *words, f"run_dir={folder}") == 0
    return folder


def with_small_network(words: list[str]) -> list[str]:
    """Return the words for a network that trains in a moment, where none asks what EfficientNet-Lite0 does."""
    return [*(word for word in words if not word.startswith("backbone=")), *SMALL_NETWORK]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_it_leaves_encoder_sheet_curves_and_record(run: Path) -> None:
    told = record(run)
    assert (told["status"], told["monitor"], told["data"], told["task"]) == (
        "finished", "val/loss", "aptos_odir", "unlabelled"
    )  # fmt: skip
    assert told["encoder"]["file"] == "encoder.safetensors"
    assert told["feature_spread"] > 0.5 and told["feature_rank"] > 0.5
    for name in ("reconstructions.png", "curves.png"):
        assert (run / name).read_bytes()[:4] == b"\x89PNG"
    assert not (run / "metrics.json").exists()
    rows = pd.read_csv(run / "metrics.csv")
    assert len(rows) == 2 and {"train/loss", "val/loss", "val/feature_spread", "val/feature_rank"} <= set(rows)
    assert rows["val/loss"].iloc[-1] < rows["val/loss"].iloc[0]


def test_only_training_photographs_are_seen_and_said(run: Path) -> None:
    split = pd.read_csv(run / "split.csv")
    train = split[split["split"] == "train"]
    provenance = read_provenance(run / "encoder.safetensors")
    assert provenance is not None
    assert provenance.photographs == train["source"].value_counts().to_dict()
    assert set(provenance.photographs) == {"aptos", "odir"} and len(split[split["split"] == "test"]) > 10
    assert provenance.start.startswith("package efficientnet_lite0") and provenance.split["split_seed"] == "0"


def test_the_encoder_is_what_the_best_checkpoint_holds(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    written = load_file(run / "encoder.safetensors")
    for key, value in written.items():
        assert torch.equal(value, state[f"network.encoder.net.{key}"]), key


def test_a_classifier_starts_from_it_and_is_told_what_it_has_seen(
    run: Path, synthetic_aptos: Path, words: list[str], command: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [word for word in words if word.startswith(("backbone", "trainer", "logger", "paths", "data.num"))]
    more = ["data=aptos", f"data.root={synthetic_aptos}", f"backbone.weights={run / 'encoder.safetensors'}"]
    assert command("train", *own, *more, "trainer.max_epochs=1", "tuning=head", f"run_dir={tmp_path / 'run'}") == 0
    printed = " ".join(capfd.readouterr().err.split())
    assert "data=aptos was in the pre-training of" in printed
    kept = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["retinai"]["hparams"]
    assert kept["backbone"]["weights"] == str(run / "encoder.safetensors")


def test_its_checkpoint_gives_embeddings_and_no_grades(
    run: Path, synthetic_aptos: Path, command: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = run / "checkpoints" / "best.ckpt", tmp_path / "own.npz"
    photographs = f"images={synthetic_aptos / 'train_images'}"
    assert command("embed", f"ckpt={checkpoint}", photographs, f"out={out}", "num_workers=0") == 0
    with np.load(out) as found:
        assert found["embedding"].shape == (60, 1280) and np.isfinite(found["embedding"]).all()
    assert command("evaluate", f"ckpt={checkpoint}", f"run_dir={tmp_path / 'out'}") == 2
    assert "gives no class probabilities" in capfd.readouterr().err


def stopped_in_the_second_epoch(command: Run, *words: str) -> None:
    """Train until the power is cut."""
    step = TokenReconstruction.training_step

    def cut(self: TokenReconstruction, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise UserError("the power is cut")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenReconstruction, "training_step", cut)
        assert command("train", *words) == 2


@pytest.mark.parametrize("more", [[], ["augment=none"]], ids=["augmented", "kept_tokens"])
def test_a_run_that_goes_on_equals_one_in_one_piece(
    more: list[str], run: Path, words: list[str], command: Run, tmp_path: Path
) -> None:
    whole, folder = run, tmp_path / "cut"
    if more:
        whole, words = tmp_path / "whole", with_small_network(words)
        assert command("train", *words, *more, f"run_dir={whole}") == 0
    stopped_in_the_second_epoch(command, *words, *more, f"run_dir={folder}")
    assert command("train", "resume=true", f"run_dir={folder}") == 0
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (
            torch.load(place / "checkpoints" / name, weights_only=True)["state_dict"] for place in (whole, folder)
        )
        assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert (folder / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()


def test_it_does_not_go_on_with_another_reference(
    run: Path, words: list[str], command: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, start = tmp_path / "cut", tmp_path / "start.safetensors"
    start.write_bytes((run / "encoder.safetensors").read_bytes())
    stopped_in_the_second_epoch(command, *words, f"backbone.weights={start}", f"run_dir={folder}")
    state = load_file(start)
    save_file({key: value + (0.01 if key == "conv_head.weight" else 0) for key, value in state.items()}, start)
    assert command("train", "resume=true", f"run_dir={folder}") == 2
    assert "other start weights" in " ".join(capfd.readouterr().err.split())


def test_photographs_without_labels_and_folders_of_any_kind(
    synthetic_aptos: Path, words: list[str], command: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [word for word in with_small_network(words) if not word.startswith("data")]
    unlabelled = ["data=folder", "data.kind=none", f"data.root={synthetic_aptos}", "data.num_workers=0"]
    more = ["data.batch_size=16", "trainer.max_epochs=1", "data.test_fraction=0.2"]
    assert command("train", *own, *unlabelled, *more, f"run_dir={tmp_path / 'run'}") == 0
    counts = pd.read_csv(tmp_path / "run" / "split.csv")["split"].value_counts()
    assert counts["train"] > 30 and counts["val"] > 5 and counts["test"] > 5
    graded = [word for word in own if not word.startswith(("model", "phase"))]
    capfd.readouterr()
    assert command("train", *graded, *unlabelled, f"run_dir={tmp_path / 'grader'}") == 2
    assert "has no labels, which a model that grades learns from" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "grader").exists()


def test_data_sets_of_one_task_keep_their_labels(
    synthetic_aptos: Path, synthetic_idrid: Path, words: list[str], command: Run, tmp_path: Path
) -> None:
    own = [word for word in words if word.startswith(("trainer", "logger", "paths", "data.num"))]
    both = ["data=[aptos,idrid]", f"data.sources.aptos.root={synthetic_aptos}",
            f"data.sources.idrid.root={synthetic_idrid}"]  # fmt: skip
    more = [*SMALL_NETWORK, "backbone.input_size=32", "data.folds=2", "data.fold=0"]
    assert command("train", *own, *both, *more, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}") == 0
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert {name.split("/")[0] for name in table["id"]} == {"aptos", "idrid"}
    split = pd.read_csv(tmp_path / "run" / "split.csv")
    idrid = split[split["id"].str.startswith("idrid/")]
    assert idrid["id"].str.startswith("idrid/train_").all() and set(idrid["split"]) >= {"train", "val", "test"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["data.batch_size=1"], "needs data.batch_size=2 or more"),
        (["attention=se"], "takes no attention=se"),
        (["+init=ckpt", "init.path=x.ckpt"], "backbone.weights=CHECKPOINT instead of +init="),
        (["model.noise=-1"], "model.noise=-1 is not allowed"),
        (["model.replaced=2"], "model.replaced=2 is not allowed"),
        (["data.sources.aptos.folds=3"], "data.sources.aptos.folds is said once for all sources"),
        (["data.sources.odir.layot=course"], "did you mean 'layout'?"),
        (["+data.sources.odir.layot=course"], "did you mean 'layout'?"),
        (["data.root=somewhere"], "data.sources.aptos.root="),
        (["data=several"], "write data=[idrid,aptos]"),
        (["data.layout=course"], "each of the joined data sets has its own; write data.sources.odir.layout="),
        (["model=classifier", "phase=finetune"], "no labels (the data sets ask different things: aptos dr_grade, odir"),
        (["data=[aptos,odri]"], "odri"),
        (["data=[aptos,odir]"], "the folder of aptos is not known; set data.sources.aptos.root=FOLDER"),
        (["data.sources.aptos.root=/nowhere"], "/nowhere"),
        (["data.sources.aptos.root=."], "train.csv does not exist; check data.sources.aptos.root and"),
    ],
    ids=lambda v: "_".join(v) if isinstance(v, list) else None,
)
def test_what_makes_no_sense_is_refused(
    more: list[str], told: str, words: list[str], command: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [word for word in words if not (more[0].startswith("data=") and word.startswith(("data=", "data.sources")))]
    assert command("train", *own, *more, f"run_dir={tmp_path / 'run'}") == 2
    assert told in " ".join(capfd.readouterr().err.split()) and not (tmp_path / "run").exists()
