"""After a generator's training: how alike its photographs are to real ones, and whether it gives real ones back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from retinai.files import write_json
from retinai.modules.stages import Stage, StageContext
from retinai.vae.quality import high_frequency_ratio, judge

if TYPE_CHECKING:
    from retinai.encoders.encoder import Encoder

RESULTS = "generation.json"
_AT_ONCE = 32
_FEWEST = 4


class Judge(Stage):
    """Write `generation.json`: per class, made-up photographs against those of the validation part.

    Features are those of the frozen network that the `backbone` section names, ImageNet's EfficientNet-Lite0 by
    default, so that the measure does not come from the generator itself.
    """

    name = "judge the generator"
    switch: ClassVar[str | None] = "test"
    splits = ("train", "val")

    def run(self, context: StageContext) -> dict[str, Any]:
        """Return the Frechet distance of all classes under `generation`."""
        from retinai.encoders.encoder import build_encoder

        best = context.load_best()
        encoder = build_encoder(dict(context.options["backbone"])).eval()
        real = {part: _real(best, encoder, context.datamodule, part) for part in ("train", "val")}
        results: dict[str, Any] = {"features": str(encoder.name), "classes": {}}
        for label in best.labels():
            number = best.task.classes.index(label)
            parts = {part: found.of(number) for part, found in real.items()}
            counts = {f"photographs_{part}": len(found.features) for part, found in parts.items()}
            if min(len(found.features) for found in parts.values()) < _FEWEST:
                results["classes"][label] = counts | {"note": f"fewer than {_FEWEST} photographs in a part"}
                continue
            made = _made(best, encoder, label, max(32, len(parts["val"].features)))
            measures = judge(parts["train"].features, parts["val"].features, made.features)
            measures["high_frequencies"] = high_frequency_ratio(parts["val"].green, made.green)
            results["classes"][label] = counts | measures
        write_json(context.folder / RESULTS, results)
        told = {name: found["frechet"]["value"] for name, found in results["classes"].items() if "frechet" in found}
        shown = ", ".join(f"{name} {value:.1f}" for name, value in told.items())
        context.say([f"Frechet distance of made-up to validation photographs: {shown or 'too few photographs'}"])
        return {"generation": told}


class _Photographs:
    """Features (N, D), green channels (N, S, S) and labels (N, C) of photographs."""

    def __init__(self, features: list[Any], green: list[Any], labels: list[Any]) -> None:
        self.features: NDArray[np.float64] = np.concatenate(features).astype(np.float64)
        self.green: NDArray[np.uint8] = np.concatenate(green)
        self.labels: NDArray[np.bool_] = np.concatenate(labels)

    def of(self, number: int) -> _Photographs:
        """Return those of a class."""
        rows = self.labels[:, number]
        return _Photographs([self.features[rows]], [self.green[rows]], [self.labels[rows]])


def _real(module: Any, encoder: Encoder, datamodule: Any, part: str) -> _Photographs:
    """Return the photographs of a part, not augmented, as the generator sees them."""
    from retinai.prediction.splits import ordered_loader

    found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for batch in ordered_loader(datamodule, part):
        pixels = (batch["image"] * module._std + module._mean).clamp(0, 1)
        _add(found, encoder, pixels, module.task.indicator(module.task.target_array(batch["target"].tolist())))
    return _Photographs(*found)


def _made(module: Any, encoder: Encoder, label: str, count: int) -> _Photographs:
    found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for start in range(0, count, _AT_ONCE):
        pixels = module.draw(label, range(start, min(start + _AT_ONCE, count)), seed=0)
        _add(found, encoder, pixels, np.zeros((len(pixels), module.task.num_classes), dtype=bool))
    return _Photographs(*found)


@torch.inference_mode()
def _add(found: tuple[list[Any], list[Any], list[Any]], encoder: Encoder, pixels: torch.Tensor, labels: Any) -> None:
    """Add the features of photographs, (B, 3, S, S), 0 to 1, at the network's own size and colours."""
    given = encoder.preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1).float() for v in (given.mean, given.std))
    pixels = pixels.cpu()
    sized = torch.nn.functional.interpolate(
        pixels, size=(given.input_size, given.input_size), mode="bilinear", antialias=True, align_corners=False
    )
    found[0].append(encoder.embed((sized - mean) / std).numpy())
    found[1].append((pixels[:, 1] * 255).round().numpy().astype(np.uint8))
    found[2].append(np.asarray(labels, dtype=bool))
