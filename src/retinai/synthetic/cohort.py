"""Writes a synthetic cohort in the folder tree of a data set's owner, whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from retinai.errors import UserError
from retinai.places import check_folder, whole_folder
from retinai.synthetic.layout_aptos import plan_aptos
from retinai.synthetic.layout_idrid import plan_idrid
from retinai.synthetic.layout_odir import plan_odir, plan_odir_course, plan_odir_kaggle
from retinai.synthetic.shots import Facts, Plan, Shot, take

Planner = Callable[[int, int, int], Plan]
LAYOUTS: dict[str, tuple[Planner, int]] = {
    # name: (planner, fewest photographs with which every class occurs in every part)
    "aptos": (plan_aptos, 10),
    "idrid": (plan_idrid, 25),
    "odir": (plan_odir, 32),
    "odir_kaggle": (plan_odir_kaggle, 32),
    "odir_course": (plan_odir_course, 32),
}
SMALLEST, LARGEST = 64, 4288
# Below this many pixels in all, starting worker processes takes longer than drawing.
_WORTH_WORKERS = 8_000_000


def write_cohort(
    out: Path,
    layout: str,
    n: int,
    size: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    masks: bool = False,
) -> None:
    """Draw a cohort and write it as the data set's owner would publish it.

    The same arguments give the same bytes, whatever the number of workers. The tree is made beside
    `out` under a temporary name and takes its place at the end, so a cohort is there whole or not
    at all.

    Args:
        out: Folder to write; must not exist or be empty.
        layout: `aptos`, `idrid`, `odir`, `odir_kaggle` or `odir_course`.
        n: Number of labelled photographs.
        size: Longer side of a photograph in pixels, 64 to 4288.
        seed: Seed of everything that is drawn, 0 or more.
        workers: Processes that draw; None takes the cores that this process may use.
        progress: Show a progress bar.
        masks: Also write `masks/`, which owners do not have: arteries, veins, disc and lesions as
            PNG, one folder per photograph.

    Raises:
        UserError: If an argument is out of range, `out` is not empty, or the disk is full.
    """
    out = Path(out)
    _check(out, layout, n, size, seed, workers)
    plan = LAYOUTS[layout][0](n, size, seed)
    if workers is None:
        small = len(plan.shots) * size * size < _WORTH_WORKERS
        workers = 1 if small else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with whole_folder(out) as folder:
        facts = _draw(plan.shots, folder, seed, masks, workers or 1, progress)
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
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} exists and is not an empty folder; give a new folder or empty this one first")
    check_folder(out, "out")


def _draw(shots: Sequence[Shot], folder: Path, seed: int, masks: bool, workers: int, progress: bool) -> list[Facts]:
    """Draw and write every photograph, in one process or in several; facts come in the order of the shots."""
    work = partial(take, folder=folder, seed=seed, masks=masks)
    if workers == 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # maps of this size gain nothing from threads
        try:
            return list(_watched(map(work, shots), len(shots), progress))
        finally:
            cv2.setNumThreads(threads)
    # Fresh processes: a fork of a process that holds torch's or OpenCV's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        try:
            return list(_watched(pool.map(work, shots, chunksize=4), len(shots), progress))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _watched(results: Iterator[Facts], total: int, progress: bool) -> Iterator[Facts]:
    """Pass results on, with a progress bar on stderr."""
    if not progress:
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "drawing photographs", total=total, console=Console(stderr=True))
