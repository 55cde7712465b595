"""`model=lesions`: trained, resumed, evaluated and exported by the commands, and refused where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_network import SMALL_NETWORK

from retinai.config.compose import compose
from retinai.lesion_segmentation.module import LesionGrader
from retinai.lesions.pixel_metrics import MASK_NAMES
from retinai.modules.load import load_module


@pytest.fixture(scope="module")
def words(synthetic_idrid: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("lesions") / "cache"
    return [
        "data=idrid", f"data.root={synthetic_idrid}", "data.num_workers=0", "data.batch_size=8", *SMALL_NETWORK,
        "backbone.input_size=32", "model=lesions", "model.mask_size=64", "model.crop=32", "trainer=cpu",
        "trainer.max_epochs=2", "logger=none", f"paths.cache={cache}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(words: list[str], command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    assert command("train", *words, f"run_dir={run}") == 0
    return run


def test_a_run_tells_of_grades_and_of_lesions(trained: Path) -> None:
    logged = pd.read_csv(trained / "metrics.csv")
    assert {"train/loss", "train/grade", "train/masks", "val/masks", "val/qwk"} <= set(logged.columns)
    total = logged["train/grade"] + logged["train/masks"]
    assert logged["train/masks"].notna().all() and (logged["train/loss"] <= total + 1e-4).all()
    lesions = json.loads((trained / "lesions.json").read_text())
    assert tuple(lesions["masks"]) == MASK_NAMES and lesions["photographs"] > 0
    assert lesions == json.loads((trained / "metrics.json").read_text())["lesions"]
    assert lesions["findings"]["photographs"] == lesions["photographs"]
    disc = lesions["masks"]["optic_disc"]
    assert 0 < disc["aupr"]["value"] <= 1 and 0 <= disc["dice"]["value"] <= 1
    table = pd.read_csv(trained / "predictions.csv")
    assert table["answer"].str.startswith("Grade ").all() and table["predicted_findings"].notna().all()
    assert table["true_findings"].notna().sum() == table["average_precision"].notna().sum() == lesions["photographs"]
    report = (trained / "report.html").read_text()
    assert "AUPR" in report and "false alarms" in report


def test_a_checkpoint_stands_alone_and_evaluates_alike(
    trained: Path, words: list[str], command: Callable[..., int], tmp_path: Path
) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    module = load_module(checkpoint)
    assert isinstance(module, LesionGrader) and module.thresholds
    assert command("evaluate", f"ckpt={checkpoint}", words[-1], f"run_dir={tmp_path / 'out'}", "accelerator=cpu") == 0
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())["lesions"]
    assert again == json.loads((trained / "lesions.json").read_text())


def test_photographs_that_nobody_drew_on_are_described_and_not_measured(
    trained: Path, words: list[str], synthetic_aptos: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    more = ["data=aptos", f"data.root={synthetic_aptos}", "split=test", words[-1], f"run_dir={tmp_path / 'out'}"]
    assert command("evaluate", f"ckpt={trained / 'checkpoints' / 'best.ckpt'}", *more, "accelerator=cpu") == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["lesions"] == {"photographs": 0, "masks": {}}
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["answer"].notna().all() and table["true_findings"].isna().all()


def test_files_are_graded_and_the_grade_is_exported(
    trained: Path, synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    checkpoint = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    images = synthetic_idrid / "B. Disease Grading" / "1. Original Images" / "b. Testing Set"
    assert command("export", checkpoint, f"out={tmp_path / 'folder'}") == 0
    given = [checkpoint, f"model={tmp_path / 'folder'}"]
    tables = []
    for number, model in enumerate(given):
        out = tmp_path / f"{number}.csv"
        assert command("predict", model, f"images={images}", f"out={out}", "accelerator=cpu") == 0
        tables.append(pd.read_csv(out))
    assert (tables[0]["prediction"] == tables[1]["prediction"]).all() and len(tables[0]) == 10


def test_a_resumed_run_equals_one_in_one_piece(
    trained: Path, words: list[str], command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = LesionGrader.training_step

    def stopped(self: LesionGrader, batch: dict[str, object], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise RuntimeError("the machine was switched off")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LesionGrader, "training_step", stopped)
    with pytest.raises(RuntimeError, match="switched off"):
        command("train", *words, f"run_dir={tmp_path / 'run'}")
    monkeypatch.undo()
    assert command("train", "resume=true", f"run_dir={tmp_path / 'run'}") == 0
    for name in ("best.ckpt", "last.ckpt"):
        whole, resumed = (
            torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]
            for run in (trained, tmp_path / "run")
        )
        assert all(torch.equal(value, resumed[key]) for key, value in whole.items()), name
    told = [(run / "lesions.json").read_text() for run in (trained, tmp_path / "run")]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model.crop=128"], "model.crop=128 is more than model.mask_size=64"),
        (["model.crop=8"], "model.crop"),
        (["model.crops=0"], "model.crops"),
        (["model.mask_weight=0"], "model.mask_weight"),
        (["model.decoder_width=12"], "model.decoder_width"),
        (["model.best_by=disc"], "model.best_by"),
        (["model.masks=5"], "model.masks"),
        (["model.mask_size=large"], "model.mask_size"),
        (["backbone=vit_tiny", "backbone.architecture=test_vit", "backbone.input_size=160"], "maps of several sizes"),
        (["model.best_by=masks", "data.folds=20", "data.val_fraction=0.06"], "model.best_by=masks, but none of the"),
        (["prompt=brief", "prompt.grade=Bad"], "prompt"),
        (["prompt=null"], "prompt"),
        (["tuning=qlora"], "language model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_users_faults_leave_nothing_behind(
    more: list[str], said: str, words: list[str], command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("train", *words, *more, f"run_dir={tmp_path / 'run'}") == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_every_choice_reaches_the_module(words: list[str]) -> None:
    cfg = compose("train", [*words, "model.crops=3", "model.mask_weight=0.5", "model.decoder_width=16",
                            "model.best_by=masks", "prompt=brief"])  # fmt: skip
    chosen = {key: cfg.model[key] for key in ("crops", "mask_weight", "decoder_width", "best_by")}
    assert chosen == {"crops": 3, "mask_weight": 0.5, "decoder_width": 16, "best_by": "masks"}
    assert cfg.model.prompt.name == "brief"


def test_it_needs_masks(
    synthetic_aptos: Path, words: list[str], command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ["data=aptos", f"data.root={synthetic_aptos}", f"run_dir={tmp_path / 'run'}"]
    assert command("train", *words[2:], *more) == 2
    assert "model=lesions learns from drawn lesions" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_thresholds_stay_where_no_validation_photograph_has_masks(
    words: list[str], command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    more = ["data.folds=20", "data.val_fraction=0.06", "trainer.max_epochs=1", f"run_dir={run}"]
    assert command("train", *words, *more) == 0
    assert load_module(run / "checkpoints" / "best.ckpt").thresholds == {}
    assert "the threshold stays at 0.5" in capsys.readouterr().err
