"""A branch that no file of the package knows: named in the configuration, trained, resumed, evaluated, predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_network import SMALL_NETWORK
from torch import Tensor, nn

from retinai.data.loading.fields import FieldSample, SampleField
from retinai.modules.branches import Branch
from retinai.modules.load import load_module


class MeanColour(SampleField):
    """`colour`: the mean of red, green and blue of the prepared photograph, float32 (3,), 0 to 1."""

    name = "colour"

    def load(self, sample: FieldSample) -> np.ndarray:
        return (sample.photograph.mean(axis=(0, 1)) / 255).astype(np.float32)

    def collate(self, values: list[np.ndarray]) -> np.ndarray:
        return np.stack(values)

    def __str__(self) -> str:
        return "mean colour"


class ColourBranch(Branch):
    """A few numbers out of the mean colour, beside the features."""

    def __init__(self, num_features: int, name: str = "colour", width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.num_features = num_features + width

    @classmethod
    def make_field(cls, section: Mapping[str, Any]) -> SampleField:
        return MeanColour()

    @property
    def field(self) -> SampleField:
        return MeanColour()

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        return torch.cat([features, self.layer(values)], dim=1)


@pytest.fixture(scope="module")
def words(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("colours")
    return [
        f"+model.branches.colour={{_target_: {__name__}.ColourBranch, name: colour, width: 5}}", "data=aptos",
        f"data.root={synthetic_aptos}", "data.num_workers=0", *SMALL_NETWORK,
        "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"paths.outputs={place}",
        f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "colour"
    assert command("train", *words, f"run_dir={folder}") == 0
    return folder


def test_its_weights_train_and_its_input_matters(run: Path) -> None:
    module = load_module(run / "checkpoints" / "best.ckpt")
    branch: Any = module.network.branches["colour"]
    assert isinstance(branch, ColourBranch) and module.network.head.in_features == 96 + 5
    images = torch.zeros(2, 3, 32, 32)
    with torch.no_grad():
        dark, red = (module(images, torch.tensor([colour] * 2)) for colour in ([0.0, 0, 0], [1.0, 0, 0]))
    assert not torch.equal(dark, red)
    assert [field.name for field in module.photograph_fields()] == ["colour"]


def test_a_finished_run_goes_on_and_stays_as_it_is(run: Path, command: Callable[..., int]) -> None:
    before = (run / "metrics.json").read_bytes()
    assert command("train", "resume=true", f"run_dir={run}") == 0
    assert (run / "metrics.json").read_bytes() == before
    assert json.loads((run / "run.json").read_text())["resumed"] == 1


def test_evaluation_and_prediction_bring_its_field(
    run: Path, words: list[str], command: Callable[..., int], synthetic_aptos: Path, tmp_path: Path
) -> None:
    checkpoint, places = f"ckpt={run / 'checkpoints' / 'best.ckpt'}", words[-2:]
    assert command("evaluate", checkpoint, f"run_dir={tmp_path / 'out'}", "accelerator=cpu", *places) == 0
    same = [(folder / "predictions.csv").read_text() for folder in (run, tmp_path / "out")]
    assert same[0] == same[1]
    images = f"images={synthetic_aptos / 'train_images'}"
    assert command("predict", checkpoint, images, f"out={tmp_path / 'grades.csv'}", "accelerator=cpu") == 0
    assert len((tmp_path / "grades.csv").read_text().splitlines()) > 10


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("+model.branches.colour.widht=3", "does not know 'widht'"),
        ("model.branches.colour._target_=pathlib.Path", "is no Branch"),
    ],
)
def test_a_section_that_is_wrong_leaves_nothing_behind(
    word: str, told: str, words: list[str], command: Callable[..., int], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert command("train", *words, word, f"run_dir={tmp_path / 'run'}") == 2
    assert told in capfd.readouterr().err and not (tmp_path / "run").exists()
