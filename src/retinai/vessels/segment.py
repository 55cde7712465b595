"""Class maps of many photographs as files, a few photographs in memory at a time; a bad file costs its own row only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from retinai.config.devices import available_cores
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.field_of_view import FieldOfView, find_field_of_view
from retinai.data.photographs.images import BadImageError, read_photograph
from retinai.data.photographs.retina import NOT_A_RETINA
from retinai.errors import DataError
from retinai.files import atomic_path
from retinai.output_folders import remove_leftovers
from retinai.vessels.biomarkers.measure import NAMES, measure_biomarkers
from retinai.vessels.class_map import inside_mask, measure_vessels, overlay
from retinai.vessels.methods import VesselSettings, open_method
from retinai.vessels.names import overlay_name

NUMBERS = ("density", "artery", "vein", "uncertain")
COLUMNS = ("id", "path", "mask", *NUMBERS, "error")
_BYTES = 8_000_000  # of files that take as long to decode as one photograph takes here, by which workers are chosen


@dataclass(frozen=True)
class Plan:
    """What is done with each photograph.

    Args:
        settings: How vessels are found.
        out: The folder of the masks.
        preview: Whether an overlay is written too.
        device: Where networks run.
        processes: How many processes share the cores.
        biomarkers: Whether calibres, tortuosity and fractal dimension are measured too.
        disc: Whether the optic disc is looked for, which calibres need; its weights lie beside those of the vessels.
    """

    settings: VesselSettings
    out: Path
    preview: bool
    device: str = "cpu"
    processes: int = 0
    biomarkers: bool = False
    disc: bool = True


def segment_photographs(
    plan: Plan, ids: Sequence[str], paths: Sequence[str], names: Sequence[str], workers: int | str = "auto"
) -> pd.DataFrame:
    """Find the vessels of photographs and write their class maps, with a progress bar.

    Args:
        plan: How, and where to.
        ids: A name for each photograph.
        paths: The photographs.
        names: The file of each mask, relative to `plan.out`.
        workers: Processes; 0 works in this one.

    Returns:
        One row per photograph, in the order given: `id`, `path`, `mask` (its file), the numbers of `VesselNumbers`,
        where asked for those of `Biomarkers`, `error` (empty, or why there is no mask; then the others are missing).

    Raises:
        UserError: If files cannot be written, or a process was killed.
    """
    count = choose_workers(workers, len(paths) * _BYTES)
    count = min(count, len(paths))
    work = partial(_segment_one, replace(plan, processes=count))
    jobs = list(zip(range(len(paths)), paths, names, strict=True))
    try:
        rows = dict(run_parallel(work, jobs, count, "finding vessels"))
    except BaseException:  # a worker that was stopped with this process leaves the file that it was writing
        for folder in {(plan.out / place).parent for name in names for place in (name, overlay_name(name))}:
            remove_leftovers(folder, None)
        raise
    known = [{"id": id, "path": path} | rows[number] for number, (id, path) in enumerate(zip(ids, paths, strict=True))]
    *first, error = COLUMNS
    more = NAMES if plan.biomarkers else ()
    table = pd.DataFrame(known, columns=[*first, *more, error], dtype=object)  # Arrow holds no lone surrogates
    numbers = {name: pd.to_numeric(table[name]) for name in (*NUMBERS, *more)}
    return table.assign(**numbers)


def _segment_one(plan: Plan, job: tuple[int, str, str]) -> tuple[int, dict[str, Any]]:
    """Find the vessels of one photograph and write them; returns its number and its row. Runs in a worker."""
    number, path, name = job
    _share_cores(plan)
    try:
        photograph = read_photograph(path)
        view = find_field_of_view(photograph)
        if not view.found:
            return number, {"error": NOT_A_RETINA}
        classes = open_method(plan.settings, plan.device).segment(photograph, view, path)
    except BadImageError as error:
        return number, {"error": error.reason}
    except DataError as error:
        return number, {"error": str(error)}
    _write(plan.out / name, classes)
    if plan.preview:
        _write(plan.out / overlay_name(name), cv2.cvtColor(overlay(photograph, classes), cv2.COLOR_RGB2BGR))
    numbers = asdict(measure_vessels(classes, inside_mask(view, *classes.shape)))
    if plan.biomarkers:
        numbers |= _biomarkers(plan, photograph, view, classes)
    return number, {"mask": name, **numbers, "error": ""}


def _biomarkers(plan: Plan, photograph: np.ndarray, view: FieldOfView, classes: np.ndarray) -> dict[str, Any]:
    disc = None
    if plan.disc:
        from retinai.vessels.biomarkers.disc import open_disc_finder

        disc = open_disc_finder(plan.settings.weights, plan.device).find(photograph, view)
    return asdict(measure_biomarkers(classes, view.width, disc))


def _write(file: Path, pixels: np.ndarray) -> None:
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"pixels of shape {pixels.shape} could not be encoded as PNG")
    with atomic_path(file) as temporary:
        temporary.write_bytes(data.tobytes())


def _share_cores(plan: Plan) -> None:
    """Give each of several processes its share of the cores."""
    if (plan.settings.uses_network or plan.biomarkers) and parent_process() is not None:
        import torch

        torch.set_num_threads(max(1, available_cores() // max(plan.processes, 1)))
