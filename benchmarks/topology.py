"""Persistence images of a photograph at 224 px: ours against gudhi's general complex and its own images.

    python benchmarks/topology.py                         synthetic photographs
    python benchmarks/topology.py images=FOLDER n=24      real ones, such as a folder of IDRiD
    python benchmarks/topology.py out=FOLDER              where topology.json goes (default: outputs/benchmarks)

From the same prepared photographs, in turns, on two threads: everything from prepared pixels to four persistence
images (resize, field of view, two filtrations, diagrams, images), then with `CubicalComplex` in the place of
gudhi's special case for pixels, then with gudhi's `PersistenceImage` in the place of our two tables as well. The
three give the same images, which is checked before the clock starts.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
THREADS = 2
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.common import Result, ratio_of, read_options, side_by_side  # noqa: E402
from retinai.data.photographs.images import read_photograph  # noqa: E402
from retinai.data.photographs.prepared_pixels import prepare_photograph  # noqa: E402
from retinai.data.photographs.preprocessing import Preprocessing  # noqa: E402
from retinai.topology.persistence import (  # noqa: E402
    TopologySettings,
    filtrations,
    general_diagrams,
    persistence_image,
    persistence_images,
)

NAMES = ("retinai", "general complex", "general complex and gudhi's images")


def main() -> None:
    """Measure, print the medians per photograph with their ranges and processor times, write `topology.json`."""
    defaults = {"images": "", "n": "12", "rounds": "5", "out": "outputs/benchmarks"}
    options = read_options(sys.argv[1:], defaults, __file__)
    cv2.setNumThreads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        photographs = read_photographs(options["images"], int(options["n"]), Path(scratch))
    result = compare(photographs, TopologySettings(), int(options["rounds"]))

    from retinai.files import write_json

    target = Path(options["out"]) / "topology.json"
    write_json(target, {"threads": THREADS, "result": result.to_dict()})
    for name, summary in result.to_dict()["summary"].items():
        low, middle, high = (1e3 * summary[key] for key in ("low", "median", "high"))
        used = 1e3 * result.details["processor_seconds"][name]
        print(f"{name}: {middle:.1f} ms per photograph ({low:.1f} to {high:.1f}), {used:.1f} ms of processor time")
    print(f"{result.name}: {result.ratio:.1f} (goal {result.goal})")
    print(f"written: {target}")


def read_photographs(images: str, n: int, scratch: Path) -> list[np.ndarray]:
    """Return prepared photographs of 224 px.

    Args:
        images: A folder, searched with its subfolders; empty draws synthetic ones.
        n: How many, evenly spread over the folder.
        scratch: Where synthetic ones are written.
    """
    if not images:
        from retinai.synthetic.cohort import write_cohort

        write_cohort(scratch, "aptos", max(n, 12), size=512, seed=0, workers=1, progress=False)
        images = str(scratch / "train_images")
    found = sorted(p for p in Path(images).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        sys.exit(f"error: images={images} holds no .jpg or .png photographs")
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(n, len(found))).astype(int)]
    preprocessing = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)
    return [prepare_photograph(read_photograph(path), preprocessing) for path in chosen]


def with_general_complex(photograph: np.ndarray, settings: TopologySettings) -> np.ndarray:
    """Return the persistence images by gudhi's general complex."""
    return np.stack([persistence_image(d, settings) for d in _diagrams(photograph, settings)])


def with_gudhi_alone(photograph: np.ndarray, settings: TopologySettings) -> np.ndarray:
    """Return the persistence images by gudhi's general complex and its own images."""
    from gudhi.representations import PersistenceImage

    draw = PersistenceImage(
        bandwidth=settings.sigma,
        weight=lambda point: point[1],
        resolution=[settings.resolution] * 2,
        im_range=[*settings.birth_range, *settings.persistence_range],
    )
    return np.stack([draw(d).reshape([settings.resolution] * 2) for d in _diagrams(photograph, settings)])


def _diagrams(photograph: np.ndarray, settings: TopologySettings) -> list[np.ndarray]:
    planes = [plane.astype(np.float64) for plane in filtrations(photograph, settings)]
    found = [d for plane in planes for d in general_diagrams(plane, settings.min_persistence)]
    return [d[np.isfinite(d[:, 1])] for d in found]


def compare(photographs: list[np.ndarray], settings: TopologySettings, rounds: int) -> Result:
    """Time the three ways in turns.

    Args:
        photographs: Prepared ones.
        settings: Which images.
        rounds: How often each way goes through all photographs.

    Returns:
        Seconds per photograph, one value per round.
    """
    ways = dict(zip(NAMES, (persistence_images, with_general_complex, with_gudhi_alone), strict=True))
    for way in ways.values():
        np.testing.assert_allclose(
            way(photographs[0], settings), persistence_images(photographs[0], settings), rtol=1e-4, atol=1e-6
        )

    def draw(name: str) -> None:
        for photograph in photographs:
            ways[name](photograph, settings)

    times = side_by_side({name: partial(draw, name) for name in NAMES}, rounds, items=len(photographs))
    # Other work on the machine lengthens the seconds, but hardly these.
    used = {name: statistics.median(taken) for name, taken in times.processor.items()}
    details = {"photographs": len(photographs), "side": settings.size, "processor_seconds": used}
    ratio = ratio_of(times.seconds, NAMES[1], NAMES[0])
    return Result("topology: general complex / retinai", ">= 5, and <= 10 ms", ratio, times.seconds, details)


if __name__ == "__main__":
    main()
