"""Training through the framework against a bare PyTorch loop, and on prepared photographs against tensors in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import lightning
import pandas as pd
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import Result, Spent, ratio_of, side_by_side
from benchmarks.loading import loader_of
from benchmarks.watches import LightningWatch, Stopwatch
from retinai.callbacks.quiet import quiet_lightning
from retinai.config.build import build
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.modules.classifier import Classifier
from retinai.modules.grading import GradingModule
from retinai.run.factories import plain
from retinai.tasks.known import DR_GRADE

CLIP = 1.0
WARM = 2  # first steps of a run, not counted


class Batches(Dataset[dict[str, Any]]):
    """Batches that are in memory already.

    Args:
        batches: The batches.
    """

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batches[index]


def make_module(cfg: DictConfig, preprocessing: Preprocessing, table: pd.DataFrame) -> Classifier:
    """Build the classifier of a configuration for the grades of some photographs.

    Args:
        cfg: Composed training configuration.
        preprocessing: How a photograph becomes the input.
        table: With the column `target`.
    """
    given = {
        "task": DR_GRADE.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_counts": [max(1, int((table["target"] == grade).sum())) for grade in range(5)],
        "num_samples": len(table),
        "seed": int(cfg.seed),
    }
    return build(plain(cfg.model), Classifier, trusted=True, **given)


def compare_with_bare_loop(module: GradingModule, batches: list[dict[str, Any]], rounds: int) -> Result:
    """Time training steps through Lightning and the module against a plain loop over the same network.

    Both do forward, loss, backward, clipping, AdamW and one-cycle on the same tensors in the same order.

    Args:
        module: A classifier; copies of it are trained.
        batches: Batches in memory, more than the warm-up of two.
        rounds: Runs of each.
    """
    quiet_lightning()
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")

    def framework() -> Spent:
        watch = Stopwatch(WARM)
        trainer = lightning.Trainer(
            max_epochs=1,
            devices=1,
            gradient_clip_val=CLIP,
            callbacks=[LightningWatch(watch)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(deepcopy(module), DataLoader(Batches(batches), batch_size=None))
        return watch.taken

    def bare() -> Spent:
        return plain_loop(deepcopy(module), batches, len(batches))

    times = side_by_side({"framework": framework, "bare": bare}, rounds)
    details = {"steps": len(batches) - WARM, "batch": len(batches[0]["image"]), "backbone": module.backbone_name}
    ratio = ratio_of(times.seconds, "framework", "bare")
    return Result("training step: framework / bare loop", "<= 1.05", ratio, times.seconds, details)


def compare_with_memory(
    module: GradingModule,
    table: pd.DataFrame,
    cache: PreparedCache,
    preprocessing: Preprocessing,
    augment: dict,
    batch_size: int,
    rounds: int,
) -> Result:
    """Time the same steps on batches from the prepared cache and on batches that are in memory.

    Args:
        module: A classifier; copies of it are trained.
        table: Label table of the originals.
        cache: Their prepared pixels.
        preprocessing: How a photograph becomes the input.
        augment: The `augment` section.
        batch_size: Photographs per step.
        rounds: Runs of each.
    """
    loader = loader_of(table, cache, preprocessing, augment, batch_size)
    memory = list(loader)
    times = side_by_side(
        {
            "memory": lambda: plain_loop(deepcopy(module), memory, len(memory)),
            "prepared": lambda: plain_loop(deepcopy(module), loader, len(memory)),
        },
        rounds,
    )
    details = {"steps": len(memory) - WARM, "batch": batch_size, "loader_processes": 0}
    ratio = ratio_of(times.seconds, "memory", "prepared")
    return Result("training throughput: prepared / in memory", ">= 0.95", ratio, times.seconds, details)


def plain_loop(module: GradingModule, batches: Iterable[dict[str, Any]], steps: int) -> Spent:
    """Train without the framework and return what it took after the warm-up.

    Args:
        module: Gives the network and the criterion; nothing else of it is used.
        batches: Where the batches come from.
        steps: Their number, for the schedule.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, criterion = module.network.to(device).train(), module.criterion.to(device)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-4, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps)
    watch = Stopwatch(WARM)
    for batch in batches:
        loss = criterion(network(batch["image"].to(device)), batch["target"].to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        scheduler.step()
        watch.step()
    return watch.taken
