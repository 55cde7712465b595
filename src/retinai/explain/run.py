"""Explain photographs one batch at a time: maps and overlays go to disk, sums and means stay in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.explain.checks import Check
from retinai.explain.overlays import MeanMaps, overlay
from retinai.explain.region_masks import Family
from retinai.explain.regions import RegionMeter, measure_maps, reference_maps
from retinai.explain.step import Maps
from retinai.explain.view import ViewField
from retinai.files import atomic_path, plain_name
from retinai.metrics.decisions import decide
from retinai.prediction.predictor import Predictor
from retinai.prediction.steps import PROBABILITY, PredictionStep
from retinai.tasks.task import Task

SHOWN = 8  # right and wrong decisions each on the contact sheet
# Below, half precision would lose digits of the map, so it is kept in single precision.
_LEAST_PEAK = 2.0**-10


class Carried(PredictionStep):
    """What a batch carries besides the photographs, and the photographs as they were prepared, uint8."""

    name = "carried"

    def __init__(self, names: Sequence[str], preprocessing: Preprocessing) -> None:
        self.names = tuple(names)
        self.preprocessing = preprocessing

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return `photograph` uint8 (B, S, S, 3), and each named key of the batch under `carried_<name>`."""
        way = self.preprocessing
        mean, std = (batch["image"].new_tensor(v)[:, None, None] for v in (way.mean, way.std))
        pixels = ((batch["image"] * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        return {"photograph": pixels, **{f"carried_{name}": batch[name] for name in self.names}}


@dataclass(frozen=True)
class Known:
    """What is known of the photographs, by id.

    Args:
        patients: Whose they are.
        eyes: `left`, `right` or empty.
        targets: Their labels; None where there are none.
    """

    patients: Mapping[str, str]
    eyes: Mapping[str, str]
    targets: Mapping[str, Any] | None = None


@dataclass(eq=False)
class Explained:
    """What was found over all photographs.

    Args:
        meters: (method, class) -> its measures; the class is empty where there is one map per photograph.
        references: Measures of the maps that know nothing of the network.
        means: Method -> mean maps by grade.
        right: Overlays of right decisions with captions, the first ones.
        wrong: Of wrong ones.
        rows: A row per photograph for `maps.csv`.
        checks: Patient and figures of each photograph that was checked.
    """

    meters: dict[tuple[str, str], RegionMeter] = field(default_factory=dict)
    references: dict[str, RegionMeter] = field(default_factory=dict)
    means: dict[str, MeanMaps] = field(default_factory=dict)
    right: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    wrong: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[tuple[str, dict[str, float]]] = field(default_factory=list)


class Explainer:
    """Makes maps, writes them, and measures them.

    Args:
        module: The classifier.
        step: Makes its maps.
        families: Regions to measure.
        known: What is known of the photographs.
        folder: Gets `maps/` and `overlays/`.
        overlays: Whether pictures are written too.
        check: Checks the first photographs; None checks none.
    """

    def __init__(
        self,
        module: Any,
        step: Maps,
        families: Mapping[str, Family],
        known: Known,
        folder: Path,
        overlays: bool = True,
        check: Check | None = None,
    ) -> None:
        self.check = check
        self.module, self.step, self.families, self.known, self.folder = module, step, families, known, folder
        self.task: Task = module.task
        self.overlays = overlays
        self.found = Explained(means={method: MeanMaps() for method in step.methods})
        self._regions = {name: family.regions for name, family in families.items()}
        self._names: set[str] = set()

    def run(self, batches: Iterable[dict[str, Any]], names: Sequence[str], total: int, accelerator: str) -> Explained:
        """Explain the photographs of a loader.

        Args:
            batches: With the fields that the families need, and `ViewField`.
            names: Names of those fields.
            total: Photographs, for the bar.
            accelerator: `auto`, `cpu` or `gpu`.
        """
        steps: list[PredictionStep] = [self.step, Carried([ViewField.name, *names], self.module.preprocessing)]
        steps += [self.check] if self.check is not None else []
        predictor = Predictor(self.module, accelerator)
        for ids, (maps, carried, *checked) in predictor.stream(batches, steps, total, title="explaining"):
            for i, name in enumerate(ids):
                self._one(name, {k: v[i] for k, v in maps.items()}, {k: v[i] for k, v in carried.items()})
                row = checked[0]["check"][i] if checked else {}
                if row:
                    self.found.checks.append((self.known.patients.get(name, name), row))
        return self.found

    def _one(self, name: str, maps: dict[str, Any], carried: dict[str, Any]) -> None:
        classes = [self.task.classes[int(k)] for k in maps["class"]]
        decided, right = self._decision(name, maps[PROBABILITY])
        stem = self._stem(name)
        self._write_maps(stem, maps, classes)
        inside = carried[f"carried_{ViewField.name}"].astype(bool)
        given = {key.removeprefix("carried_"): value for key, value in carried.items()}
        masks = {k: mask for family in self.families.values() for k, mask in family.masks(given).items()}
        self._measure(name, maps, classes, masks, inside, carried["photograph"])
        group = self._group(name, decided)
        for method in self.step.methods:
            self.found.means[method].add(group, maps[method].mean(axis=0), self.known.eyes.get(name) == "left")
        truth = None if self.known.targets is None else self.task.class_names(self.known.targets[name])
        self.found.rows.append({"id": name, "file": f"{stem}.npz", "decided": "|".join(decided)}
                               | ({} if truth is None else {"true": "|".join(truth), "right": right}))  # fmt: skip
        if self.overlays:
            self._draw(stem, name, maps, classes, carried["photograph"], inside, decided, right)

    def _decision(self, name: str, probabilities: NDArray[np.float32]) -> tuple[list[str], bool | None]:
        decision = decide(probabilities[None], self.module.decision_rule)
        decided = self.task.class_names(decision[0])
        if self.known.targets is None:
            return decided, None
        return decided, decided == self.task.class_names(self.known.targets[name])

    def _group(self, name: str, decided: list[str]) -> str:
        if self.known.targets is None or self.task.distribution != "categorical":
            return "|".join(decided) or "no label"
        return str(self.task.classes[int(self.known.targets[name])])

    def _stem(self, name: str) -> str:
        """Return a file's name for an id: one that holds folders would lead elsewhere."""
        plain, number = plain_name(name), 2
        stem = plain
        while stem in self._names:
            stem, number = f"{plain}_{number}", number + 1
        self._names.add(stem)
        return stem

    def _write_maps(self, stem: str, maps: Mapping[str, Any], classes: list[str]) -> None:
        arrays: dict[str, Any] = {method: _half(maps[method]) for method in self.step.methods}
        with atomic_path(self.folder / "maps" / f"{stem}.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, classes=np.array(classes), **arrays)

    def _measure(
        self,
        name: str,
        maps: Mapping[str, Any],
        classes: list[str],
        masks: Mapping[str, NDArray[np.bool_]],
        inside: NDArray[np.bool_],
        photograph: NDArray[np.uint8],
    ) -> None:
        if not self.families:
            return
        patient = self.known.patients.get(name, name)
        own = {
            (method, class_name if len(classes) > 1 else ""): maps[method][number]
            for method in self.step.methods
            for number, class_name in enumerate(classes)
        }
        for key in own:
            self.found.meters.setdefault(key, RegionMeter(self._regions))
        measure_maps(self.found.meters, name, patient, own, masks, inside)
        for reference, saliency in reference_maps(photograph, inside).items():
            meter = self.found.references.setdefault(reference, RegionMeter(self._regions, turns=0))
            meter.add(name, patient, saliency, masks, inside)

    def _draw(
        self,
        stem: str,
        name: str,
        maps: Mapping[str, Any],
        classes: list[str],
        photograph: NDArray[np.uint8],
        inside: NDArray[np.bool_],
        decided: list[str],
        right: bool | None,
    ) -> None:
        pictures = [
            overlay(photograph, maps[method][number], inside, f"{method}: {class_name}")
            for method in self.step.methods
            for number, class_name in enumerate(classes)
        ]
        with atomic_path(self.folder / "overlays" / f"{stem}.png") as path:
            Image.fromarray(np.concatenate(pictures)).save(path, "PNG")
        shown = self.found.wrong if right is False else self.found.right
        if len(shown) < SHOWN:
            shown.append((f"{name[-24:]}: {', '.join(decided) or 'no label'}", pictures[0]))


def _half(saliency: NDArray[np.float32]) -> NDArray[Any]:
    """Return a map in half precision, where that keeps its digits; nothing is rescaled."""
    peak = float(np.abs(saliency).max(initial=0))
    return saliency.astype(np.float16) if peak == 0 or _LEAST_PEAK <= peak < 6e4 else saliency.astype(np.float32)
