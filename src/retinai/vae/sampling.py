"""Photographs made up by a checkpoint, in a folder that `data.extra_train=` takes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retinai import __version__
from retinai.data.curation.extra_train import PHOTOGRAPHS, PROVENANCE
from retinai.errors import UserError
from retinai.files import plain_name, write_csv, write_json
from retinai.modules.load import load_any_module
from retinai.output_folders import whole_folder
from retinai.vae.module import PhotographVae

_AT_ONCE = 32


def load_generator(path: str | Path) -> PhotographVae:
    """Rebuild a trained generator from its checkpoint.

    Raises:
        CheckpointError: If the file cannot be used.
        UserError: If it is of another kind of model.
    """
    module = load_any_module(path)
    if not isinstance(module, PhotographVae):
        raise UserError(f"from={path} is of model {module.model_name!r}, which makes no photographs; train model=vae")
    return module


def choose_label(module: PhotographVae, label: str | None) -> str:
    """Return the class to make photographs of.

    Raises:
        UserError: If the generator has no such class, or several and none is named.
    """
    known = module.labels()
    if label is None and len(known) == 1:
        return known[0]
    if label is None or label not in known:
        said = "class= is missing" if label is None else f"class={label} is unknown to this generator"
        raise UserError(f"{said}; it makes {', '.join(known)}")
    return label


def draw_pixels(module: PhotographVae, label: str, n: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return made-up photographs, uint8, (N, S, S, 3), RGB; each follows from seed and number alone."""
    parts = []
    for start in range(0, n, _AT_ONCE):
        drawn = module.draw(label, range(start, min(start + _AT_ONCE, n)), seed)
        parts.append((drawn.permute(0, 2, 3, 1) * 255).round().to("cpu").numpy().astype(np.uint8))
    return np.concatenate(parts)


def write_photographs(checkpoint: str | Path, label: str | None, n: int, seed: int, out: Path) -> dict[str, Any]:
    """Write made-up photographs with their table and their provenance; the folder is there whole or not at all.

    Args:
        checkpoint: Of `model=vae`.
        label: The class; None where the generator knows one alone.
        n: Number of photographs.
        seed: Seed of all.
        out: A new or empty folder.

    Returns:
        The content of `provenance.json`.

    Raises:
        UserError: If the checkpoint makes no such photographs.
    """
    from PIL import Image

    module = load_generator(checkpoint)
    label = choose_label(module, label)
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    facts = {
        "generator": f"vae:{digest[:12]}",
        "checkpoint_sha256": digest,
        "class": label,
        "classes": list(module.task.classes),
        "seed": seed,
        "side": module.preprocessing.input_size,
        "trained_on": (module.data_config or {}).get("name"),
        "version": __version__,
        "seen": module.seen,
    }
    # A class of one's own data may have any name, and a file that begins with a dash is an option to other programs.
    stem = plain_name(label).lstrip("-") or "class"
    names = [f"{stem}_{number:05d}" for number in range(n)]
    with whole_folder(out) as folder:
        for name, pixels in zip(names, draw_pixels(module, label, n, seed), strict=True):
            Image.fromarray(pixels).save(folder / f"{name}.png")
        write_csv(folder / PHOTOGRAPHS, _table(module, names, label))
        write_json(folder / PROVENANCE, facts)
    return facts


def _table(module: PhotographVae, names: list[str], label: str) -> Any:
    import pandas as pd

    number = module.task.classes.index(label)
    target: Any = number
    if len(module.task.target_shape(1)) == 2:
        target = tuple(int(k == number) for k in range(module.task.num_classes))
    written = module.task.csv_label(target)
    return pd.DataFrame({"id": names, "file": [f"{name}.png" for name in names], "target": [written] * len(names)})
