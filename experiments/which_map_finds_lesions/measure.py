"""Which method's maps find lesions: IDRiD's masks, each photograph explained by the fold that did not learn from it.

    python experiments/which_map_finds_lesions/measure.py OUT RUN RUN RUN RUN RUN [paths.cache=FOLDER]
    python experiments/which_map_finds_lesions/measure.py OUT RUN slow=true     the slow methods

RUN are the run folders of a cross-validation. OUT gets `table.csv` (a row per network, method and group of
photographs), `table.md`, and two figures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from figures import draw_examples, draw_methods
from torch.utils.data import DataLoader, Subset

from retinai.config.compose import compose
from retinai.explain.checks import shuffle_weights
from retinai.explain.region_masks import chosen_families, region_fields
from retinai.explain.regions import (
    RegionMeter,
    RegionSums,
    measure_maps,
    reference_maps,
)
from retinai.explain.run import Carried
from retinai.explain.step import Maps
from retinai.explain.view import ViewField
from retinai.lesions.findings import LESION_NAMES
from retinai.metrics.bootstrap import bootstrap_weights, interval
from retinai.modules.load import load_module
from retinai.prediction.splits import ordered_loader
from retinai.prediction.steps import run_steps
from retinai.run.checkpoint_data import open_data
from retinai.vessels.methods import VesselSettings

ANY = "any"
# Layers of EfficientNet-Lite0 at 256 pixels: last is 8 x 8 cells, blocks.4 is 16 x 16, blocks.2 is 32 x 32.
ASKED = {
    "last": (
        "gradcam",
        "gradcampp",
        "hirescam",
        "layercam",
        "occlusion",
        "ig",
        "kernelshap",
        "lime",
    ),
    "blocks.4": ("gradcam", "hirescam", "layercam"),
    "blocks.2": ("gradcam", "hirescam", "layercam"),
}
SLOW = (
    "occlusion",
    "ig",
    "kernelshap",
    "lime",
)  # dozens to hundreds of passes for each photograph
BESIDE = ("gradcam", "layercam")  # measured again on the photographs of the slow ones
GROUPS = {
    "all": (0, 1, 2, 3, 4),
    "moderate": (2,),
    "severe": (3,),
    "proliferative": (4,),
}
FEWEST = 5  # photographs of a group, below which nothing is said
RESAMPLES = 1000


@dataclass(eq=False)
class Row:
    """The measures of one network and method, and the seconds that its maps took."""

    meter: RegionMeter = field(default_factory=lambda: RegionMeter({ANY: (ANY,), "kinds": LESION_NAMES}))
    seconds: float = 0.0
    photographs: int = 0


def main(out: Path, folders: list[str], words: list[str], slow: bool) -> None:
    """Measure the runs and write table and figures.

    Args:
        out: Folder to write.
        folders: Run folders, one per fold.
        words: Overrides of `retinai explain`, such as `paths.cache=FOLDER`.
        slow: Whether the slow methods are measured, with two quick ones beside, instead of all quick ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[tuple[str, str], Row] = {}
    examples: dict[str, dict[str, Any]] = {}
    for folder in folders:
        checkpoint = Path(folder) / "checkpoints" / "best.ckpt"
        module = load_module(checkpoint).eval()
        networks = {"trained": module} if slow else {"trained": module, "shuffled weights": shuffle_weights(module)}
        steps = {name: make_steps(network, slow) for name, network in networks.items()}
        for batch in masked_batches(checkpoint, module, words):
            carried = photographs(module, batch)
            for network, own in steps.items():
                maps = explain(networks[network], own, batch, rows, network)
                measure(rows, network, batch, maps, carried)
                if network == "trained":
                    keep(examples, batch, maps, carried)
        print(f"{folder}: {len(examples)} photographs with masks so far", flush=True)
    table = pd.DataFrame(figures(rows, {name: one["grade"] for name, one in examples.items()}))
    table.to_csv(out / "table.csv", index=False)
    (out / "table.md").write_text(as_markdown(table))
    draw_methods(table, out / "methods.png")
    draw_examples(list(examples.values()), out / "examples.jpg")
    print((out / "table.md").read_text())


def make_steps(module: Any, slow: bool) -> dict[str, tuple[str, Maps]]:
    """Return the steps by name, each with its layer: those of one layer share a pass, the slow ones do not."""
    if slow:
        alone = [*BESIDE, *SLOW]
        return {method: ("last", Maps(module, [method])) for method in alone}
    quick = {layer: [m for m in methods if m not in SLOW] for layer, methods in ASKED.items()}
    return {layer: (layer, Maps(module, methods, layer=layer)) for layer, methods in quick.items()}


def masked_batches(checkpoint: Path, module: Any, words: list[str]) -> Iterator[dict[str, Any]]:
    """Yield batches of the photographs that a run held out and that somebody drew lesions on."""
    cfg = compose("explain", [f"ckpt={checkpoint}", "num_workers=0", *words])
    datamodule, _ = open_data(cfg, module, checkpoint)
    families = chosen_families(["lesions"], of_data_set=True, vessels=VesselSettings("sato"))
    datamodule.use_fields([ViewField(), *region_fields(families)])
    datamodule.setup()
    loader = ordered_loader(datamodule, "test")
    dataset: Any = loader.dataset
    drawn = datamodule.source.annotations()
    chosen = [number for number, name in enumerate(dataset.ids) if name in drawn]
    yield from DataLoader(Subset(dataset, chosen), batch_size=8, collate_fn=loader.collate_fn)


def photographs(module: Any, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return pixels, field of view and lesion masks of each photograph."""
    names = [ViewField.name, "mask", "has_mask"]
    (found,) = run_steps(module, batch, [Carried(names, module.preprocessing)])
    lesions = chosen_families(["lesions"], of_data_set=True, vessels=VesselSettings("sato"))["lesions"]
    rows = []
    for i in range(len(batch["id"])):
        given = {name: np.asarray(found[f"carried_{name}"][i]) for name in names}
        masks = lesions.masks(given)
        masks[ANY] = np.any(list(masks.values()), axis=0)
        rows.append(
            {
                "photograph": found["photograph"][i].numpy(),
                "inside": given[ViewField.name] > 0,
                "masks": masks,
            }
        )
    return rows


def explain(
    module: Any,
    steps: dict[str, tuple[str, Maps]],
    batch: dict[str, Any],
    rows: dict[tuple[str, str], Row],
    network: str,
) -> dict[str, np.ndarray]:
    """Return the maps of each method, (B, h, w), and note how long they take."""
    maps = {}
    for layer, step in steps.values():
        start = time.perf_counter()
        (found,) = run_steps(module, batch, [step])
        seconds = time.perf_counter() - start
        for method in step.methods:
            name = method if layer == "last" else f"{method}, {layer}"
            row = rows.setdefault((network, name), Row())
            row.seconds += seconds
            row.photographs += len(batch["id"])
            maps[name] = found[method][:, 0].numpy()
    return maps


def measure(
    rows: dict[tuple[str, str], Row],
    network: str,
    batch: dict[str, Any],
    maps: dict[str, np.ndarray],
    carried: list[dict[str, Any]],
) -> None:
    """Add the maps of a batch, and once those that know nothing of a network."""
    for i, (name, known) in enumerate(zip(batch["id"], carried, strict=True)):
        shown = {(network, method): saliency[i] for method, saliency in maps.items()}
        if network == "trained":
            shown |= {("none", method): m for method, m in nothing_known(known).items()}
        meters = {key: rows.setdefault(key, Row()).meter for key in shown}
        measure_maps(meters, name, name, shown, known["masks"], known["inside"])


def nothing_known(known: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the maps that know the photograph alone, and those of the lesions themselves as so many cells."""
    found: dict[str, np.ndarray] = dict(reference_maps(known["photograph"], known["inside"]))
    drawn = torch.from_numpy(known["masks"][ANY].astype(np.float32))[None]
    for cells in (8, 16, 32):
        found[f"the lesions themselves in {cells} x {cells} cells"] = torch.nn.functional.adaptive_avg_pool2d(
            drawn, cells
        )[0].numpy()
    return found


def keep(
    examples: dict[str, dict[str, Any]],
    batch: dict[str, Any],
    maps: dict[str, np.ndarray],
    carried: list[dict[str, Any]],
) -> None:
    """Keep what the figure of examples shows of a batch."""
    for i, name in enumerate(batch["id"]):
        one = examples.setdefault(name, {"grade": int(batch["target"][i]), "maps": {}, **carried[i]})
        one["maps"] |= {method: saliency[i] for method, saliency in maps.items()}


def figures(rows: dict[tuple[str, str], Row], grades: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield a row for each network, method and group of photographs, of any lesion and of each kind."""
    for (network, method), row in rows.items():
        ms = 1000 * row.seconds / row.photographs if row.photographs else float("nan")
        for group, members in GROUPS.items():
            for region, sums in row.meter.sums.items():
                part = only(sums, [grades[name] in members for name in sums.patients])
                if len(part.patients) < FEWEST:
                    continue
                told = {"network": network, "method": method, "photographs of": group, "lesion": region,
                        "photographs": len(part.patients), "zero maps": row.meter.zero}  # fmt: skip
                yield told | energy(part) | pointing(part) | {"ms": ms}


def only(sums: RegionSums, kept: list[bool]) -> RegionSums:
    """Return what was summed over some of the photographs."""
    return RegionSums(**{name: [v for v, k in zip(values, kept, strict=True) if k]
                         for name, values in vars(sums).items()})  # fmt: skip


def energy(sums: RegionSums) -> dict[str, float]:
    """Return the mean share of a map that lies in the lesions, every photograph alike, beside turned lesions."""
    inside, rest = np.array(sums.inside)[:, 0], np.array(sums.rest)[:, 0]
    turned, around = (np.array(values)[:, :, 0] for values in (sums.turned, sums.turned_rest))
    own, null = inside / (inside + rest), turned / (turned + around)
    weights = bootstrap_weights(sums.patients, RESAMPLES, 0).astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    excess = interval((weights @ own) / np.median(weights @ null, axis=1))
    mean = null.mean(axis=0)
    return {
        "energy": float(own.mean()),
        "turned": float(np.median(mean)),
        "excess": excess["value"],
        "low": excess["low"],
        "high": excess["high"],
        "p": float((1 + (mean >= own.mean()).sum()) / (1 + len(mean))),
    }


def pointing(sums: RegionSums) -> dict[str, float]:
    """Return how often the maximum lies in a lesion, beside turned lesions."""
    turned = np.mean(sums.turned_hit, axis=0)
    own = float(np.mean(sums.hit))
    return {
        "pointing": own,
        "pointing turned": float(turned.mean()),
        "pointing p": float((1 + (turned >= own).sum()) / (1 + len(turned))),
    }


def as_markdown(table: pd.DataFrame) -> str:
    """Return the rows of any lesion and all grades, the best first."""
    shown = table[(table["photographs of"] == "all") & (table["lesion"] == ANY)].sort_values("excess", ascending=False)
    head = (
        "network",
        "method",
        "energy in lesions (turned)",
        "excess, 95 % interval",
        "p",
        "pointing (turned)",
        "p",
        "ms",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in shown.to_dict("records"):
        took = "-" if np.isnan(row["ms"]) else f"{row['ms']:.0f}"
        lines.append(
            f"| {row['network']} | {row['method']} | {row['energy']:.3f} ({row['turned']:.3f}) | {row['excess']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f}) | {row['p']:.3f} | {row['pointing']:.2f} "
            f"({row['pointing turned']:.2f}) | {row['pointing p']:.3f} | {took} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if "=" not in word]
    options = [word for word in sys.argv[1:] if "=" in word]
    if len(given) < 2:
        sys.exit(__doc__)
    main(
        Path(given[0]),
        given[1:],
        [w for w in options if not w.startswith("slow=")],
        "slow=true" in options,
    )
