from __future__ import annotations

from collections import Counter
from dataclasses import replace

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_trees import PREPROCESSING, write_aptos, write_image
from torchvision.transforms.v2 import functional as tv

from retinai import log
from retinai.data.loading.augmentation import build_augmentation
from retinai.data.loading.dataset import Collate, FundusDataset
from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.loading.loader import make_loader
from retinai.data.loading.samplers import SampleKey
from retinai.data.loading.views import PhotographView
from retinai.data.parallel import choose_loader_workers
from retinai.data.photographs import original
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.aptos import AptosDataModule
from retinai.data.sources.label_table import as_targets
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

PRE = Preprocessing.from_dict(PREPROCESSING)
AUGMENT = [
    {"name": "HorizontalFlip", "params": {"p": 0.5}},
    {"name": "Affine", "params": {"rotate": [-20, 20], "p": 1.0}},
    {"name": "RandomBrightnessContrast", "params": {"p": 1.0}},
]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("photographs")
    ids = [f"p{i}" for i in range(10)]
    paths = [str(write_image(root / f"{name}.png", number)) for number, name in enumerate(ids)]
    return pd.DataFrame({"id": ids, "path": paths, "target": as_targets([i % 5 for i in range(10)])})


def batches(table: pd.DataFrame, epochs, workers: int = 0, seed: int = 0) -> list[torch.Tensor]:
    """Return the images of each epoch, in the order of the ids."""
    dataset = FundusDataset(table, PRE, augmentation=build_augmentation(AUGMENT), seed=seed)
    loader = make_loader(dataset, DR_GRADE, batch_size=5, num_workers=workers, sampler="shuffle", seed=seed)
    out = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        images, ids = [], []
        for batch in loader:
            images.append(batch["image"])
            ids += batch["id"]
        out.append(torch.cat(images)[np.argsort(ids)])
    return out


def test_batch_follows_the_contract(table):
    batch = next(iter(make_loader(FundusDataset(table, PRE), DR_GRADE, batch_size=4)))
    assert batch["image"].shape == (4, 3, 32, 32) and batch["image"].dtype == torch.float32
    assert batch["image"].is_contiguous()
    assert batch["target"].tolist() == [0, 1, 2, 3] and batch["target"].dtype == torch.int64
    assert batch["id"] == ["p0", "p1", "p2", "p3"]
    assert set(batch) == {"image", "target", "id"}


def test_normalisation_is_that_of_torchvision(table):
    dataset = FundusDataset(table, PRE)
    samples = [dataset[i] for i in range(3)]
    ours = Collate(PRE, DR_GRADE)(samples)["image"]
    planes = torch.stack([torch.from_numpy(s["image"]).permute(2, 0, 1) for s in samples])
    oracle = tv.normalize(tv.to_dtype(planes, torch.float32, scale=True), list(PRE.mean), list(PRE.std))
    torch.testing.assert_close(ours, oracle, atol=2e-6, rtol=1e-5)


def test_multilabel_and_unlabelled_targets(table):
    flags = table.assign(target=as_targets([(1, 0, 1)] * 10))
    batch = next(iter(make_loader(FundusDataset(flags, PRE), ODIR_COURSE, batch_size=2)))
    assert batch["target"].tolist() == [[1, 0, 1], [1, 0, 1]] and batch["target"].dtype == torch.float32
    unlabelled = table.assign(target=as_targets([None] * 10))
    assert "target" not in next(iter(make_loader(FundusDataset(unlabelled, PRE), DR_GRADE, batch_size=2)))


def test_augmentation_depends_on_seed_and_epoch_only(table):
    first, second = batches(table, [0, 1])
    assert not torch.equal(first, second)
    resumed = batches(table, [1])[0]
    assert torch.equal(second, resumed)
    assert not torch.equal(first, batches(table, [0], seed=1)[0])


def test_persistent_workers_see_the_epoch(table):
    alone = batches(table, [0, 1, 0])
    shared = batches(table, [0, 1, 0], workers=2)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert torch.equal(shared[0], shared[2]) and not torch.equal(shared[0], shared[1])


def test_a_photograph_drawn_twice_varies(table):
    dataset = FundusDataset(table, PRE, augmentation=build_augmentation(AUGMENT))
    assert not np.array_equal(dataset[SampleKey(0, 3, 0)]["image"], dataset[SampleKey(0, 3, 1)]["image"])
    dataset.set_epoch(4)
    assert np.array_equal(dataset[3]["image"], dataset[SampleKey(4, 3, 0)]["image"])


def test_tiny_last_batches_are_left_out_of_training_only(table):
    dataset = FundusDataset(table, PRE)
    assert [len(b["id"]) for b in make_loader(dataset, DR_GRADE, batch_size=4, sampler="shuffle")] == [4, 4]
    assert [len(b["id"]) for b in make_loader(dataset, DR_GRADE, batch_size=4)] == [4, 4, 2]
    assert [len(b["id"]) for b in make_loader(dataset, DR_GRADE, batch_size=64, sampler="shuffle")] == [10]


def test_loader_workers():
    assert choose_loader_workers("auto", 100, 32) == 0
    assert 0 <= choose_loader_workers("auto", 10_000, 32) <= 4
    assert choose_loader_workers(3, 1, 32) == 3


class Recorder(lightning.LightningModule):
    """Keeps a digest of every training batch, and has one weight so that there is something to train."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[float]] = {}

    def training_step(self, batch, batch_idx):
        self.seen.setdefault(self.current_epoch, []).append(float(batch["image"].double().sum()))
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        return batch["id"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_tells_the_sampler_its_epoch_and_a_resumed_run_sees_the_same(tmp_path):
    root = write_aptos(tmp_path / "aptos", [i % 5 for i in range(60)])

    def fit(epochs: int, folder, ckpt=None, workers: int = 0) -> Recorder:
        data = AptosDataModule(
            root=str(root),
            cache=tmp_path / "cache",
            preprocessing=PREPROCESSING,
            batch_size=8,
            near_duplicates=False,
            num_workers=workers,
            augment=AUGMENT,
        )
        module = Recorder()
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=folder, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data, ckpt_path=ckpt)
        predicted = trainer.predict(module, dataloaders=data.loader("test"))
        assert [name for ids in predicted for name in ids] == data.split_table("test")["id"].tolist()
        return module

    whole = fit(3, tmp_path / "whole")
    assert len({sums[0] for sums in whole.seen.values()}) == 3
    fit(2, tmp_path / "part")
    (ckpt,) = (tmp_path / "part").rglob("*.ckpt")
    resumed = fit(3, tmp_path / "resumed", ckpt=ckpt, workers=2)
    assert resumed.seen == {2: whole.seen[2]}


class _Brightness(SampleField):
    """Measures the photograph that it is given."""

    name = "brightness"

    def load(self, sample: FieldSample) -> tuple[str, float]:
        return sample.id, float(sample.photograph.mean())

    def collate(self, values: list[tuple[str, float]]) -> list[tuple[str, float]]:
        return values


def test_fields_see_the_photograph_before_augmentation(table):
    plain = FundusDataset(table, PRE)
    varied = FundusDataset(table, PRE, augmentation=build_augmentation(AUGMENT), fields=[_Brightness()])
    batch = next(iter(make_loader(varied, DR_GRADE, batch_size=3)))
    assert batch["brightness"] == [(f"p{i}", float(plain[i]["image"].mean())) for i in range(3)]


def test_fields_share_one_decoding_one_preparation_and_one_augmentation(table, monkeypatch):
    """However many fields ask for it; two ways of preparation are two preparations of one decoded photograph."""
    counts = Counter()

    def counting(name, function):
        def call(*words, **options):
            counts[name] += 1
            return function(*words, **options)

        return call

    monkeypatch.setattr(original, "decode_photograph", counting("decoded", original.decode_photograph))
    monkeypatch.setattr(original, "prepare_photograph", counting("prepared", original.prepare_photograph))
    large = replace(PRE, input_size=48)
    asked = [_Brightness(), PhotographView("a", large), PhotographView("b", large), PhotographView("c", PRE)]
    augmentation = build_augmentation(AUGMENT)
    sample = FundusDataset(table, PRE, augmentation=augmentation, fields=asked)[0]
    assert counts == {"decoded": 1, "prepared": 2}
    assert np.array_equal(sample["a"], sample["b"]) and np.array_equal(sample["c"], sample["image"])


def test_damaged_prepared_photographs_are_told_once(tmp_path, table, caplog, monkeypatch):
    """Files with other bytes are not served, from the loader's processes too, and the batches are the same."""
    monkeypatch.setattr(log.logger, "handlers", [caplog.handler])
    monkeypatch.setattr(log.logger, "propagate", False)
    caplog.set_level(log.NOTE, "retinai")
    cache = PreparedCache(tmp_path / "cache", PRE)
    cache.prepare(table["path"].tolist(), workers=0, progress=None)
    for file in cache.folder.rglob("*.npy"):
        content = bytearray(file.read_bytes())
        content[-100] ^= 255
        file.write_bytes(content)
    expected = next(iter(make_loader(FundusDataset(table, PRE), DR_GRADE, batch_size=10)))
    for workers in (0, 2):
        caplog.clear()
        loader = make_loader(FundusDataset(table, PRE, cache=cache), DR_GRADE, batch_size=2, num_workers=workers)
        batches = [batch for _ in range(2) for batch in loader]
        assert torch.equal(torch.cat([batch["image"] for batch in batches[:5]]), expected["image"])
        assert {key for batch in batches for key in batch} == {"image", "target", "id"}
        (said,) = caplog.messages
        assert str(cache.folder) in said and "retinai prepare" in said
    cache.prepare(table["path"].tolist(), workers=0, progress=None)
    caplog.clear()
    assert len(list(make_loader(FundusDataset(table, PRE, cache=cache), DR_GRADE, batch_size=2))) == 5
    assert not caplog.messages
