"""An epoch of the data loader on prepared photographs against decoding originals of the size of APTOS."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.common import Result, ratio_of, side_by_side
from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.dataset import FundusDataset
from retinai.data.loading.loader import EpochLoader, make_loader
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.synthetic.cohort import write_cohort
from retinai.tasks.known import DR_GRADE

HEIGHT, WIDTH = 1958, 2588  # a frequent size among the photographs of APTOS


def make_originals(folder: Path, n: int) -> pd.DataFrame:
    """Write PNG photographs of the size of APTOS, enlarged from synthetic ones, with the noise of a sensor.

    Args:
        folder: Where they go.
        n: How many.

    Returns:
        A label table with the columns `id`, `path`, `target`.
    """
    write_cohort(folder / "small", "aptos", n, size=512, seed=0, workers=1, progress=False)
    labels = pd.read_csv(folder / "small" / "train.csv").head(n)
    rng = np.random.default_rng(0)
    paths = []
    for name in labels["id_code"]:
        small = cv2.imread(str(folder / "small" / "train_images" / f"{name}.png"))
        scale = min(HEIGHT / small.shape[0], WIDTH / small.shape[1])
        size = (round(small.shape[1] * scale), round(small.shape[0] * scale))
        large = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noise = rng.integers(-1, 2, large.shape, dtype=np.int16)
        large = np.clip(np.where(large > 12, large + noise, large), 0, 255).astype(np.uint8)
        side, top = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
        frame = cv2.copyMakeBorder(
            large, top, HEIGHT - size[1] - top, side, WIDTH - size[0] - side, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
        paths.append(str(folder / f"{name}.png"))
        cv2.imwrite(paths[-1], frame)
    return pd.DataFrame({"id": labels["id_code"], "path": paths, "target": labels["diagnosis"]})


def loader_of(
    table: pd.DataFrame, cache: PreparedCache | None, preprocessing: Preprocessing, augment: dict, batch_size: int
) -> EpochLoader:
    """Return a training loader as a datamodule makes it, without processes of its own."""
    dataset = FundusDataset(table, preprocessing, cache=cache, augmentation=build_augmentation(augment), seed=0)
    return make_loader(dataset, DR_GRADE, batch_size=batch_size, num_workers=0, sampler={"name": "shuffle"}, seed=0)


def compare(
    table: pd.DataFrame, cache: PreparedCache, preprocessing: Preprocessing, augment: dict, rounds: int
) -> Result:
    """Time one epoch of both loaders, one process each, the same batches and augmentation.

    Args:
        table: Label table of the originals.
        cache: Their prepared pixels.
        preprocessing: How a photograph becomes the input.
        augment: The `augment` section.
        rounds: Epochs of each.
    """
    loaders = {
        "originals": loader_of(table, None, preprocessing, augment, 4),
        "prepared": loader_of(table, cache, preprocessing, augment, 4),
    }

    def epoch(name: str) -> None:
        for _ in loaders[name]:
            pass

    times = side_by_side({name: partial(epoch, name) for name in loaders}, rounds)
    megabytes = sum(Path(path).stat().st_size for path in table["path"]) / len(table) / 1e6
    details = {
        "photographs": len(table),
        "pixels": f"{WIDTH} x {HEIGHT}",
        "megabytes_each": round(megabytes, 2),
        "side": preprocessing.input_size,
    }
    ratio = ratio_of(times.seconds, "originals", "prepared")
    return Result("epoch of the loader: originals / prepared", ">= 10", ratio, times.seconds, details)
