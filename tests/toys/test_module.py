"""A module that is no grader: one class, one YAML in a folder of its own, and no file of the package knows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss

from retinai.errors import UserError
from retinai.files import write_json
from retinai.modules.base import BaseModule
from retinai.modules.load import load_any_module
from retinai.modules.stages import Stage, StageContext


class Sketch(Stage):
    """Writes how well the best checkpoint redraws the first validation photographs."""

    name = "sketch"
    splits = ("val",)

    def run(self, context: StageContext) -> dict[str, Any]:
        best = context.load_best()
        batch = next(iter(context.datamodule.val_dataloader()))
        with torch.no_grad():
            error = float(best.error(batch))
        write_json(context.folder / "sketch.json", {"error": error, "photographs": len(batch["id"])})
        context.say([f"redrawn with an error of {error:.3f}"])
        return {"redrawing_error": error}


class TinyAutoencoder(BaseModule):
    """Draws photographs of 4 x 4 pixels from a few numbers; there is no label in it."""

    def __init__(self, *, width: int = 3, **options: Any) -> None:
        super().__init__(**options)

    def build_network(self) -> nn.Module:
        width = int(self.hparams["width"])
        return nn.Sequential(nn.Linear(48, width), nn.Dropout(0.1), nn.Linear(width, 48))

    def error(self, batch: dict[str, Any]) -> Tensor:
        small = avg_pool2d(batch["image"], batch["image"].shape[-1] // 4).flatten(1)
        return mse_loss(self.network(small), small)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self.error(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["id"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val/loss", self.error(batch), batch_size=len(batch["id"]))

    def stages(self) -> list[Stage]:
        return [Sketch()]

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        yield "width", str(self.hparams["width"])


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conf")
    section = {
        "_target_": f"{__name__}.TinyAutoencoder",
        "name": "sketcher",
        "optimizer": "${optimizer}",
        "scheduler": "${scheduler}",
        "width": 3,
    }
    (folder / "model").mkdir()
    (folder / "model" / "sketcher.yaml").write_text(yaml.safe_dump(section))
    return folder


@pytest.fixture(scope="module")
def words(conf: Path, synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("sketches")
    return [
        f"hydra.searchpath=[file://{conf}]", "model=sketcher", "data=aptos", f"data.root={synthetic_aptos}",
        "data.num_workers=0", "backbone.input_size=32", "trainer=cpu", "logger=none", "seed=4",
        f"paths.outputs={place}", f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    assert command("train", *words, "trainer.max_epochs=2", f"run_dir={folder}") == 0
    return folder


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_it_trains_and_does_what_it_does_afterwards(run: Path) -> None:
    told = record(run)
    assert (told["status"], told["model"], told["monitor"], told["mode"]) == ("finished", "sketcher", "val/loss", "min")
    drawn = json.loads((run / "sketch.json").read_text())
    assert told["redrawing_error"] == drawn["error"] > 0 and drawn["photographs"] > 0
    rows = (run / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[rows[0].split(",").index("val/loss")]) for row in rows[1:]]
    assert len(losses) == 2 and told["best_score"] == pytest.approx(min(losses), rel=1e-5)
    assert not (run / "metrics.json").exists() and not (run / "report.html").exists()


def test_what_a_run_prints_first_speaks_of_it(
    words: list[str], command: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}") == 0
    printed = " ".join(capfd.readouterr().out.split())
    for text in ("model sketcher, 32 px", "width 3", "val/loss (lower is better)"):
        assert text in printed
    assert "class counts" not in printed


def test_a_run_that_goes_on_equals_one_in_one_piece(
    run: Path, words: list[str], command: Callable[..., int], tmp_path: Path
) -> None:
    folder, step = tmp_path / "cut", TinyAutoencoder.training_step

    def cut(self: TinyAutoencoder, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.current_epoch == 1:
            raise UserError("the power is cut")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyAutoencoder, "training_step", cut)
        assert command("train", *words, "trainer.max_epochs=2", f"run_dir={folder}") == 2
    assert record(folder)["status"] == "failed"
    assert command("train", words[0], "resume=true", f"run_dir={folder}") == 0
    assert record(folder)["resumed"] == 1
    for key, value in weights(run).items():
        assert torch.equal(value, weights(folder)[key]), key
    assert (folder / "sketch.json").read_bytes() == (run / "sketch.json").read_bytes()


def test_its_checkpoint_stands_alone_and_is_no_grader(
    run: Path, command: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    module = load_any_module(checkpoint)
    assert isinstance(module, TinyAutoencoder) and module.model_name == "sketcher" and not module.training
    assert command("evaluate", f"ckpt={checkpoint}", f"run_dir={tmp_path / 'out'}") == 2
    assert "gives no class probabilities" in capfd.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("topology=cubical", "model=sketcher takes no topology=cubical; set topology=none"),
        ("attention=se", "model=sketcher takes no attention=se; set attention=none"),
        ("+model.widht=4", "did you mean 'width'?"),
    ],
)
def test_what_it_does_not_take_is_refused(
    word: str, told: str, words: list[str], command: Callable[..., int], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("train", *words, word, f"run_dir={tmp_path / 'run'}") == 2
    assert told in capfd.readouterr().err and not (tmp_path / "run").exists()
