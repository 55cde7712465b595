"""A source and a field that no file of the package knows: named by `_target_`, and trained for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import yaml
from small_network import SMALL_NETWORK
from torch import Tensor

from retinai.data.datamodule import SourceDataModule
from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.data.sources.label_table import as_targets
from retinai.data.sources.source import Source
from retinai.modules.classifier import Classifier
from retinai.tasks.known import DR_GRADE

HERE = Path(__file__).stem


class ToySource(Source):
    """Photographs in a folder for each grade, as files of any name."""

    task = DR_GRADE

    def __init__(
        self, name: str = "toy", suffix: str = ".png", root: str | None = None, cache: str | Path | None = None
    ) -> None:
        super().__init__(name, root, cache)
        self.suffix = suffix

    def read_table(self) -> pd.DataFrame:
        files = sorted(self.root.glob(f"*/*{self.suffix}"))
        ids = [f"{file.parent.name}_{file.stem}" for file in files]
        targets = as_targets([int(file.parent.name) for file in files])
        return pd.DataFrame(
            {"id": ids, "path": [*map(str, files)], "target": targets, "patient": ids, "eye": "", "split": "",
             "source": "folders"}
        )  # fmt: skip


class ToyDataModule(SourceDataModule):
    source_class = ToySource


class Brightness(SampleField):
    """How bright the prepared photograph is, and how bright the augmented one; the scale travels as a setting."""

    name = "brightness"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.known: set[str] = set()

    def bind(self, data: FieldContext) -> Brightness:
        bound = Brightness(self.scale)
        bound.known = set(data.table["id"])
        return bound

    def load(self, sample: FieldSample) -> tuple[float, float]:
        assert sample.id in self.known
        return self.scale * sample.photograph.mean(), self.scale * sample.image.mean()

    def collate(self, values: list[tuple[float, float]]) -> np.ndarray:
        return np.array(values, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"scale": self.scale}


class ToyClassifier(Classifier):
    """A classifier that asks for the field and compares it with its input."""

    seen: ClassVar[list[tuple[Tensor, Tensor]]] = []  # of all, because the command makes the module

    def fields(self) -> list[SampleField]:
        return [*super().fields(), Brightness(scale=1 / 255)]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        std, mean = (batch["image"].new_tensor(getattr(self.preprocessing, k)).view(3, 1, 1) for k in ("std", "mean"))
        self.seen.append((batch["brightness"], (batch["image"] * std + mean).mean(dim=(1, 2, 3))))
        return super().training_step(batch, batch_idx)


@pytest.fixture
def folders(synthetic_aptos: Path, tmp_path: Path) -> Path:
    labels = pd.read_csv(synthetic_aptos / "train.csv")
    for name, grade in zip(labels["id_code"], labels["diagnosis"], strict=True):
        file = tmp_path / "toy" / str(grade) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(synthetic_aptos / "train_images" / file.name)
    return tmp_path / "toy"


def words(folders: Path, *more: str) -> list[str]:
    place = folders.parent
    return [
        "train", "data=aptos", f"data._target_={HERE}.ToyDataModule", "data.name=toy", f"data.root={folders}",
        "+data.suffix=.png", "data.num_workers=0", "data.batch_size=8", *SMALL_NETWORK,
        "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"run_dir={place / 'run'}",
        f"paths.cache={place / 'cache'}", *more,
    ]  # fmt: skip


def test_a_toy_source_trains_is_tested_and_reported(command: Callable[..., int], folders: Path) -> None:
    assert command(*words(folders)) == 0
    run = folders.parent / "run"
    record = yaml.safe_load((run / "run.json").read_text())
    assert record["status"] == "finished" and record["data"] == "toy" and record["counts"]["train"] > 30
    assert pd.read_csv(run / "split.csv")["id"].str.match(r"[0-4]_").all() and (run / "report.html").is_file()


def test_a_toy_field_reaches_the_module_that_asks_for_it(command: Callable[..., int], folders: Path) -> None:
    ToyClassifier.seen.clear()
    toy = [f"model._target_={HERE}.ToyClassifier", "calibrate=false", "test=false"]
    assert command(*words(folders, *toy)) == 0
    prepared, images = (np.concatenate(parts) for parts in zip(*ToyClassifier.seen, strict=True))
    assert len(images) > 30
    np.testing.assert_allclose(prepared[:, 1], images, atol=1e-4)  # of the very pixels that the network sees
    assert np.abs(prepared[:, 0] - prepared[:, 1]).max() > 0.01  # and of those before augmentation


def test_a_toy_field_of_the_data_section_is_checked_and_carried(
    command: Callable[..., int], folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    field = f"+data.fields.mine={{_target_: {HERE}.Brightness, scale: 2}}"
    assert command(*words(folders, field.replace("scale", "scael"))) == 2
    assert "data.fields.mine" in capsys.readouterr().err and not (folders.parent / "run").exists()
    assert command(*words(folders, field)) == 0


def test_its_options_are_checked_like_any(
    command: Callable[..., int], folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words(folders, "+data.sufix=.jpg")) == 2
    assert "'sufix', did you mean 'suffix'" in capsys.readouterr().err
    assert ToyDataModule("t", ".jpg", root=str(folders), folds=3).source.suffix == ".jpg"
