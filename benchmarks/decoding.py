"""From the file to the grade: native JPEGs decoded at a fraction of their size, beside decoding every pixel.

    python benchmarks/decoding.py native=FOLDER              JPEGs as a camera writes them, such as IDRiD's native ones
    python benchmarks/decoding.py native=FOLDER docs=true    also puts the figures into docs/speed.md

Everything on one core, in turns (A B C, A B C), ratios within a round and of processor time, which other work on the
machine lengthens least. The student is an EfficientNet-Lite0 in ONNX Runtime; what it learned takes no time. `before`
is what a worker of `retinai prepare` did before: every pixel decoded, and the field of view looked for in all of them,
by the hash of the photograph and by the input.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.common import Times, ratio_of, read_options, side_by_side  # noqa: E402
from benchmarks.student import put, retinai  # noqa: E402
from retinai.benchmark.worker import keep_to_cores, peak_memory  # noqa: E402
from retinai.data.curation.file_index import HASH_SIDE, examine  # noqa: E402
from retinai.data.parallel import run_parallel  # noqa: E402
from retinai.data.photographs import field_of_view  # noqa: E402
from retinai.data.photographs.arrays import write_array  # noqa: E402
from retinai.data.photographs.images import decode_photograph, read_bytes, read_photograph  # noqa: E402
from retinai.data.photographs.original import Original  # noqa: E402
from retinai.data.photographs.prepared_pixels import prepare_photograph  # noqa: E402
from retinai.data.photographs.preprocessing import Preprocessing  # noqa: E402

PREPROCESSING = Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIDES = (224, 380, 512)
PRECISIONS = ("int8", "fp32")
DECODE, GRADE = "full decoding by OpenCV", "JPEG to grade"
GRADE_WHOLE = f"{GRADE}, fp32, every pixel decoded"
PREPARE, PREPARE_BEFORE = "prepare", "prepare before"


def main() -> None:
    """Measure, print the page, and write it into the document where that is asked for."""
    options = read_options(sys.argv[1:], {"native": "", "rounds": "9", "docs": "false"}, __file__)
    paths = sorted(str(p) for p in Path(options["native"]).glob("*.jp*g")) if options["native"] else []
    if not paths:
        sys.exit(f"error: native={options['native']} must be a folder of JPEGs as a camera writes them")
    with tempfile.TemporaryDirectory() as scratch:
        memory = {name: worker_memory(job, paths, Path(scratch)) for name, job in MEMORY.items()}
        folders = make_models(Path(scratch))
        keep_to_cores(1)
        cv2.setNumThreads(1)
        times = measure(paths, folders, Path(scratch) / "cache", int(options["rounds"]))
    page = describe(times, memory, fidelity(paths), paths)
    print(page)
    if options["docs"] == "true":
        put(REPOSITORY / "docs" / "speed.md", "decoding", page)


def make_models(scratch: Path) -> dict[str, str]:
    """Return precision -> folder that `retinai export` wrote of one student."""
    run, cache = scratch / "run", f"paths.cache={scratch / 'train'}"
    retinai("train", "data=synthetic", "data.n=40", "data.size=256", "backbone.weights=none", "trainer.max_epochs=1",
            f"run_dir={run}", "logger=none", cache)  # fmt: skip
    folders = {precision: str(scratch / precision) for precision in PRECISIONS}
    for precision, folder in folders.items():
        # After one epoch all probabilities are nearly alike, so that int8 may decide otherwise.
        retinai("export", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"out={folder}", f"precision={precision}",
                "force=true", cache)  # fmt: skip
    return folders


def measure(paths: list[str], folders: dict[str, str], cache: Path, rounds: int) -> Times:
    """Time all ways in turns; seconds per photograph.

    Args:
        paths: Native JPEGs.
        folders: Exported folders by precision.
        cache: Where prepared photographs are written.
        rounds: How often each way goes through all photographs.
    """
    from retinai.runtime import ExportedModel

    graders = {precision: ExportedModel(folder, threads=1) for precision, folder in folders.items()}
    whole = ExportedModel(folders["fp32"], threads=1)
    whole.folder = replace(whole.folder, preprocessing=replace(whole.preprocessing, decoding="whole"))
    contents = [read_bytes(path) for path in paths]

    def grade(grader: ExportedModel) -> None:
        for path in paths:
            table = grader.predict([path], workers=0)
            assert not table["error"].any(), table["error"].tolist()

    def decode() -> None:
        for data in contents:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    def run(way: Callable[[Path, str], Any]) -> None:
        for path in paths:
            way(cache, path)

    contenders = {
        DECODE: decode,
        **{f"{GRADE}, {precision}": partial(grade, grader) for precision, grader in graders.items()},
        GRADE_WHOLE: partial(grade, whole),
        PREPARE: partial(run, prepare),
        PREPARE_BEFORE: partial(run, prepare_before),
    }
    return side_by_side(contenders, rounds, items=len(paths))


def prepare(cache: Path, path: str) -> float:
    """Do what a worker of `retinai prepare` does with a file; return the most memory it has had, in megabytes."""

    def keep(original: Original, sha256: str) -> None:
        write_array(cache / f"{sha256}.npy", original.prepared(PREPROCESSING))

    assert not examine(path, keep).record.reason
    return peak_memory()


def prepare_before(cache: Path, path: str) -> float:
    """Do what it did before; return the most memory it has had, in megabytes."""
    import imagehash
    from PIL import Image

    with mock.patch.object(field_of_view, "_small_copy", _small_copy_before):
        data = read_bytes(path)
        image = decode_photograph(data, path)
        write_array(cache / f"{hashlib.sha256(data).hexdigest()}.npy", prepare_photograph(image, PREPROCESSING))
        small = prepare_photograph(image, replace(PREPROCESSING, input_size=4 * HASH_SIDE))
        imagehash.phash(Image.fromarray(small), hash_size=HASH_SIDE)
    return peak_memory()


def _small_copy_before(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, field_of_view.SEARCH_SIDE / max(height, width))
    size = field_of_view.scaled_size(width, height, scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def read_for_grading(cache: Path, path: str) -> float:
    """Do what a reading process of `retinai predict` does; return the most memory it has had, in megabytes."""
    from retinai.prediction.reading import read_one

    assert not read_one(PREPROCESSING, (), (0, path)).reason
    return peak_memory()


MEMORY: dict[str, Callable[[Path, str], float]] = {
    "`retinai prepare`": prepare,
    "`retinai predict`": read_for_grading,
    "`retinai prepare` before": prepare_before,
}


def worker_memory(job: Callable[[Path, str], float], paths: list[str], cache: Path) -> float:
    """Return the most memory that a worker process has had which did a job for each photograph, in megabytes."""
    return max(run_parallel(partial(job, cache), paths * 3, 1, None))


def fidelity(paths: list[str]) -> list[str]:
    """Return a row of a table per photograph and side: how near the pixels are to averaging every pixel."""
    rows = []
    for path in paths:
        for side in SIDES:
            way = replace(PREPROCESSING, input_size=side)
            original = Original.read(path)
            exact = prepare_photograph(read_photograph(path), way).astype(float)
            error = np.mean((original.prepared(way) - exact) ** 2)
            decibels = "equal" if error == 0 else f"{10 * np.log10(255**2 / error):.1f} dB"
            rows.append(f"| {Path(path).name} | {side} | 1/{original.copy_for(way).reduction} | {decibels} |")
    return rows


def describe(times: Times, memory: dict[str, float], rows: list[str], paths: list[str]) -> str:
    """Return the page: goals, times, memory, fidelity."""
    from retinai.runtime.cpu import this_cpu

    used = times.processor
    grade = {precision: ratio_of(used, f"{GRADE}, {precision}", DECODE) for precision in PRECISIONS}
    height, width = read_photograph(paths[0]).shape[:2]
    told = ", ".join(f"{precision} {ratio:.2f}" for precision, ratio in grade.items())
    lines = [
        f"**A native JPEG of {width} x {height} pixels to its grade on one core: {min(grade.values()):.2f} of the time "
        f"in which OpenCV decodes it** ({told}; {ratio_of(used, GRADE_WHOLE, DECODE):.2f} in fp32 with every pixel "
        "decoded).",
        "",
        f"{this_cpu().name}, one core, {len(paths)} photographs, {len(used[DECODE])} rounds, load "
        f"{os.getloadavg()[0]:.1f}; opencv-python-headless {cv2.__version__}.",
        "",
        "| goal | target | measured |  |",
        "| --- | ---: | ---: | --- |",
        *goals(grade, ratio_of(used, PREPARE_BEFORE, PREPARE), memory),
        "",
        "| milliseconds of processor time per photograph | median | fastest | slowest |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {1e3 * statistics.median(t):.1f} | {1e3 * min(t):.1f} | {1e3 * max(t):.1f} |"
            for name, t in used.items()
        ),
        "",
        "| a worker process of | most memory, MB |",
        "| --- | ---: |",
        *(f"| {name} | {megabytes:.0f} |" for name, megabytes in memory.items()),
        "",
        "| photograph | input, pixels | decoded at | prepared pixels, against averaging every pixel |",
        "| --- | ---: | ---: | ---: |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def goals(grade: dict[str, float], faster: float, memory: dict[str, float]) -> list[str]:
    """Return the rows of the goals."""
    peak = max(megabytes for name, megabytes in memory.items() if "before" not in name)
    found = [
        (f"JPEG to grade, {precision} / full decoding by OpenCV", "at most 0.6", f"{ratio:.2f}", ratio <= 0.6)
        for precision, ratio in grade.items()
    ]
    found += [
        ("a worker of `retinai prepare`: before / now", "at least 4", f"{faster:.1f}", faster >= 4),
        ("most memory of a worker, MB", "under 300", f"{peak:.0f}", peak < 300),
    ]
    return [f"| {a} | {b} | {c} | {'met' if met else 'missed'} |" for a, b, c, met in found]


if __name__ == "__main__":
    main()
