"""Writes a synthetic cohort in the folder tree of a data set's owner, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from retinai.data.parallel import choose_workers, run_parallel
from retinai.errors import UserError
from retinai.output_folders import check_folder, whole_folder
from retinai.synthetic.devices import cameras_of
from retinai.synthetic.layout_aptos import plan_aptos
from retinai.synthetic.layout_graded import plan_brset, plan_ddr, plan_eyepacs, plan_messidor2
from retinai.synthetic.layout_idrid import plan_idrid
from retinai.synthetic.layout_oculomics import plan_oculomics, read_log_odds
from retinai.synthetic.layout_odir import plan_odir, plan_odir_course, plan_odir_kaggle
from retinai.synthetic.shots import Facts, Plan, Shot, take

Planner = Callable[..., Plan]  # (n, size, seed), and what a layout takes besides
LAYOUTS: dict[str, tuple[Planner, int]] = {
    # name: (planner, fewest photographs with which every class occurs in every part)
    "aptos": (plan_aptos, 10),
    "idrid": (plan_idrid, 25),
    "odir": (plan_odir, 32),
    "odir_kaggle": (plan_odir_kaggle, 32),
    "odir_course": (plan_odir_course, 32),
    "eyepacs": (plan_eyepacs, 40),
    "messidor2": (plan_messidor2, 25),
    "ddr": (plan_ddr, 25),
    "brset": (plan_brset, 40),
    "oculomics": (plan_oculomics, 40),
}
# Layouts whose patients are photographed by one of several cameras.
WITH_CAMERAS = ("odir", "odir_kaggle", "odir_course")
SMALLEST, LARGEST = 64, 4288
DRAWN_SIZE = 512  # of a longer side where none is given
# Drawing a pixel takes about as long as decoding so many bytes, by which the number of processes is chosen.
_BYTES_PER_PIXEL = 4


def write_cohort(
    out: Path,
    layout: str,
    n: int,
    size: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    masks: bool = False,
    log_odds: Mapping[str, float] | None = None,
    camera: str = "mixed",
) -> None:
    """Draw a cohort and write it as the data set's owner would publish it.

    The same arguments give the same bytes, whatever the number of workers. The tree is made beside
    `out` under a temporary name and takes its place at the end, so a cohort is there whole or not
    at all.

    Args:
        out: Folder to write; must not exist or be empty.
        layout: One of `LAYOUTS`, such as `aptos`.
        n: Number of labelled photographs.
        size: Longer side of a photograph in pixels, 64 to 4288.
        seed: Seed of everything that is drawn, 0 or more.
        workers: Processes that draw, 1 for this one alone; None chooses.
        progress: Show a progress bar.
        masks: Also write `masks/`, which owners do not have: arteries, veins, disc and lesions as
            PNG, one folder per photograph.
        log_odds: Of `oculomics`: what the outcome depends on, keys of `layout_oculomics.LogOdds`.
        camera: Layouts of ODIR: `mixed`, or the one camera of all photographs (`devices.CAMERAS`).

    Raises:
        UserError: If an argument is out of range, `out` is not empty, or the disk is full.
    """
    out = Path(out)
    _check(out, layout, n, size, seed, workers)
    more: dict[str, Any] = _camera(layout, camera)
    if layout == "oculomics":
        more["log_odds"] = read_log_odds(log_odds)
    plan = LAYOUTS[layout][0](n, size, seed, **more)
    count = 0 if workers == 1 else choose_workers(workers, len(plan.shots) * size * size * _BYTES_PER_PIXEL)
    with whole_folder(out) as folder:
        facts = _draw(plan.shots, folder, seed, masks, count, progress)
        plan.finish(folder, facts)


def _check(out: Path, layout: str, n: int, size: int, seed: int, workers: int | None) -> None:
    if layout not in LAYOUTS:
        raise UserError(f"layout={layout} is unknown; valid: {', '.join(LAYOUTS)}")
    fewest = LAYOUTS[layout][1]
    if n < fewest:
        raise UserError(f"n={n} is too few for layout={layout}; give n={fewest} or more, so that every class occurs")
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"size={size} is out of range; give {SMALLEST} to {LARGEST} pixels")
    if seed < 0:
        raise UserError(f"seed={seed} is negative; give 0 or more")
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers} is too few; give 1 or more, or auto")
    check_out(out)


def check_out(out: Path) -> None:
    """Refuse a folder that is not new or empty, or cannot be written.

    Raises:
        UserError: Says what stands in the way.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} exists and is not an empty folder; give a new folder or empty this one first")
    check_folder(out, "out")


def _camera(layout: str, camera: str) -> dict[str, str]:
    if layout in WITH_CAMERAS:
        cameras_of(camera)
        return {"camera": camera}
    if camera != "mixed":
        raise UserError(f"camera={camera} is of the layouts {', '.join(WITH_CAMERAS)}; leave it out with {layout}")
    return {}


def _draw(shots: Sequence[Shot], folder: Path, seed: int, masks: bool, workers: int, progress: bool) -> list[Facts]:
    """Draw and write every photograph, in this process (0) or in several; facts come in the order of the shots."""
    work = partial(_take_one, folder=folder, seed=seed, masks=masks)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # maps of this size gain nothing from threads
    try:
        bar = "drawing photographs" if progress else None
        facts = dict(run_parallel(work, list(enumerate(shots)), workers, bar))
    finally:
        cv2.setNumThreads(threads)
    return [facts[number] for number in range(len(shots))]


def _take_one(job: tuple[int, Shot], folder: Path, seed: int, masks: bool) -> tuple[int, Facts]:
    number, shot = job
    return number, take(shot, folder, seed, masks)
