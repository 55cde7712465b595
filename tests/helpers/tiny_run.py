"""A real training run of a second: a small network with norm and dropout, a one-cycle schedule, all callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from retinai.callbacks import make_callbacks
from retinai.encoders.checkpoint_io import AtomicCheckpointIO


class TinyModule(lightning.LightningModule):
    def __init__(self, scores: list[float] | None = None, interval: str = "step") -> None:
        super().__init__()
        self.scores, self.interval = scores, interval
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 5))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Not at the start of an epoch: a resumed epoch makes its loader's iterator, which draws a number, earlier.
        if batch_idx == 0:
            torch.manual_seed(100 + self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.network(batch[0])
        self.log("val/loss", nn.functional.cross_entropy(logits, batch[1]), batch_size=len(batch[1]))
        score = (logits.argmax(1) == batch[1]).float().mean()
        if self.scores is not None:
            score = torch.tensor(self.scores[self.current_epoch])
        self.log("val/qwk", score, batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        if self.interval == "epoch":
            scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 2e-2, total_steps=int(self.trainer.estimated_stepping_batches)
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.interval}}


def loaders() -> tuple[DataLoader, DataLoader]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 6, generator=generator)
    data = TensorDataset(images, (images.sum(1).clamp(-2, 2) + 2).long())
    return DataLoader(data, 8), DataLoader(data, 20)


def train(
    folder: Path,
    *,
    overrides: tuple[str, ...] = (),
    epochs: int = 4,
    resume: bool = False,
    module: lightning.LightningModule | None = None,
    more: tuple[Any, ...] = (),
) -> tuple[lightning.LightningModule, lightning.Trainer]:
    """Train with the composed trainer and callback sections, as a run does."""
    from omegaconf import OmegaConf

    cfg = compose_sections(overrides)
    module = module or TinyModule()
    callbacks = [*make_callbacks(OmegaConf.to_container(cfg.callbacks, resolve=True), folder, "val/qwk"), *more]
    arguments: dict[str, Any] = OmegaConf.to_container(cfg.trainer, resolve=True)  # type: ignore[assignment]
    arguments |= {"max_epochs": epochs, "accelerator": "cpu"}
    trainer = lightning.Trainer(
        **arguments,
        callbacks=callbacks,
        logger=False,
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(module, *loaders(), ckpt_path=str(last) if resume and last.exists() else None, weights_only=True)
    return module, trainer


def compose_sections(overrides: tuple[str, ...]) -> Any:
    """Compose the trainer and callbacks groups alone, from the options named `callbacks=` and `trainer=`."""
    from omegaconf import OmegaConf

    from retinai.config.paths import conf_dir

    chosen = dict(text.split("=", 1) for text in overrides if text.split("=")[0] in ("callbacks", "trainer"))
    rest = [text for text in overrides if text.split("=")[0] not in ("callbacks", "trainer")]

    def section(group: str, option: str) -> Any:
        own = OmegaConf.load(conf_dir() / group / f"{option}.yaml")
        bases = [section(group, base) for base in own.pop("defaults", [])]
        return OmegaConf.merge(*bases, own)

    cfg = OmegaConf.create(
        {
            "callbacks": section("callbacks", chosen.get("callbacks", "default")),
            "trainer": section("trainer", chosen.get("trainer", "cpu")),
        }
    )
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(rest))


def state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]
