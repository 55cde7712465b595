"""Small modules and loaders for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from retinai.encoders.checkpoint_io import AtomicCheckpointIO
from retinai.modules.classifier import Classifier
from retinai.tasks.known import DR_GRADE
from retinai.tasks.task import Task

CONF = Path(__file__).parents[2] / "conf"
SIZE = 32


def section(group: str, name: str, **changes: Any) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text()) | changes


def make_classifier(task: Task = DR_GRADE, **changes: Any) -> Classifier:
    counts = [5, 4, 3, 2, 2] if task.kind == "grade" else [5] * task.num_classes
    values: dict[str, Any] = {
        "task": task.to_dict(),
        "preprocessing": {"input_size": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3},
        "class_counts": counts[: task.num_classes],
        "backbone": section("backbone", "resnet18", weights="none", input_size=SIZE),
        "attention": section("attention", "none"),
        "tuning": section("tuning", "full"),
        "loss": section("loss", "cross_entropy" if task.kind == "grade" else "bce"),
        "optimizer": section("optimizer", "adamw"),
        "scheduler": section("scheduler", "onecycle"),
    }
    return Classifier(**(values | changes))


class Samples(torch.utils.data.Dataset):
    def __init__(self, task: Task = DR_GRADE, n: int = 16) -> None:
        self.task, self.n = task, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(index))
        label = index % self.task.num_classes
        target = torch.tensor(label) if self.task.kind == "grade" else torch.eye(self.task.num_classes)[label]
        return {"image": image + label * 0.3, "target": target, "id": f"s{index}"}


def write(content: dict[str, Any], path: Path) -> Path:
    """Write a checkpoint as runs do, with the hash of what it holds now."""
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def make_loader(task: Task = DR_GRADE) -> Any:
    return torch.utils.data.DataLoader(Samples(task), batch_size=8)


def fit(module: Classifier, epochs: int = 2, callbacks: Any = (), resume: Any = None) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=list(callbacks), enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=any("Checkpoint" in type(c).__name__ for c in callbacks),
        num_sanity_val_steps=1, plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    loader = make_loader(module.task)
    trainer.fit(module, loader, loader, ckpt_path=resume, weights_only=True if resume else None)
    return trainer
