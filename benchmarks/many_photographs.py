"""Many small photographs graded on Ray by two workers, one of which is killed, beside the plain command.

    python benchmarks/many_photographs.py                      20,000 drawn photographs of 128 pixels
    python benchmarks/many_photographs.py docs=true            also puts the figures into docs/many_photographs.md
    python benchmarks/many_photographs.py photographs=600 part=50    does it work here? the times say little

The student is an EfficientNet-Lite0 of 128 pixels in ONNX Runtime, one thread a worker; what it learned takes no time.
The photographs are copies of 200 drawn ones under names of their own, and two files that are none. The worker is killed
(SIGKILL) as soon as a third of the parts are there. Both commands must give every file once, and the same grades.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.common import read_options  # noqa: E402
from benchmarks.student import put, retinai  # noqa: E402

SIDE, DRAWN, WORKERS, BATCH = 128, 200, 2, 8
BAD = {"empty.jpg": b"", "text.jpg": b"no photograph"}
STATISTICS = b"retinai"  # where a part keeps what it took


def main() -> None:
    """Draw, grade both ways, compare, and print the page."""
    options = read_options(sys.argv[1:], {"photographs": "20000", "part": "500", "docs": "false"}, __file__)
    count, part = int(options["photographs"]), int(options["part"])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model, images = make_model(place), make_photographs(place, count)
        ray = grade_on_ray(model, images, place / "grades", part)
        plain = grade_plainly(model, images, place / "grades.csv")
        check(place / "grades", place / "grades.csv", images)
    page = describe(ray, plain, count, part)
    print(page)
    if options["docs"] == "true":
        put(REPOSITORY / "docs" / "many_photographs.md", "many", page)


def make_model(place: Path) -> Path:
    """Return the folder that `retinai export` wrote of a student."""
    cache = f"paths.cache={place / 'cache'}"
    retinai("train", "data=synthetic", "data.n=40", "data.size=256", "backbone.weights=none", "trainer.max_epochs=1",
            f"backbone.input_size={SIDE}", f"run_dir={place / 'run'}", "logger=none", cache)  # fmt: skip
    ckpt = place / "run" / "checkpoints" / "best.ckpt"
    retinai("export", f"ckpt={ckpt}", f"out={place / 'model'}", "force=true", cache)
    return place / "model"


def make_photographs(place: Path, count: int) -> Path:
    """Return a folder of small JPEGs, of which two are none."""
    from PIL import Image

    from retinai.synthetic.cohort import write_cohort

    write_cohort(place / "drawn", "aptos", DRAWN, size=SIDE, seed=0, progress=False)
    images = place / "images"
    images.mkdir()
    sources = sorted((place / "drawn").rglob("*.png"))
    for number, source in enumerate(sources[: count - len(BAD)]):
        Image.open(source).convert("RGB").save(images / f"p{number:06d}.jpg", quality=90)
    for number in range(len(sources), count - len(BAD)):
        shutil.copyfile(images / f"p{number % len(sources):06d}.jpg", images / f"p{number:06d}.jpg")
    for name, content in BAD.items():
        (images / name).write_bytes(content)
    return images


def grade_on_ray(model: Path, images: Path, out: Path, part: int) -> dict[str, Any]:
    """Grade by two workers and kill one of them; return what it took."""
    words = [f"model={model}", "engine=ray", f"images={images}", f"out={out}", f"part_size={part}",
             f"num_workers={WORKERS}", "threads=1", f"batch_size={BATCH}"]  # fmt: skip
    began = time.perf_counter()
    job = subprocess.Popen([sys.executable, "-m", "retinai.cli", "predict", *words], stdout=subprocess.PIPE, text=True)
    parts = -(-len(list(images.iterdir())) // part)
    killed, memory = 0, list[float]()
    while job.poll() is None:
        time.sleep(0.5)
        done = statistics(out)
        if done:
            memory.append(resident(job.pid))
        if not killed and len(done) >= parts // 3:
            killed = done[-1]["process"]
            os.kill(killed, signal.SIGKILL)
    seconds = time.perf_counter() - began
    assert job.returncode == 0 and killed, (job.returncode, job.communicate())
    every = statistics(out)
    by_worker = {p: [s["megabytes"] for s in every if s["process"] == p] for p in {s["process"] for s in every}}
    assert len(by_worker) == WORKERS + 1, by_worker  # the killed one, and the one in its place
    processor = sum(s["processor"] for s in every)
    summary = json.loads((out / "_summary.json").read_text())
    return {
        "seconds": seconds, "processor": processor, "rate": summary["photographs_per_second"],
        "actors": sorted(by_worker.values(), key=len), "command": (memory[0], max(memory)),
    }  # fmt: skip


def statistics(out: Path) -> list[dict[str, Any]]:
    """Return what each part took that is there, in the order in which they were written."""
    files = sorted(out.glob("part-*.parquet"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(pq.read_metadata(file).metadata[STATISTICS]) for file in files]


def resident(process: int) -> float:
    """Return the memory that a process has now, in megabytes; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def grade_plainly(model: Path, images: Path, out: Path) -> dict[str, Any]:
    """Grade by the plain command with as many threads and processes as it chooses; return what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    retinai("predict", f"model={model}", f"images={images}", f"out={out}", f"batch_size={BATCH}")
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def check(grades: Path, table: Path, images: Path) -> None:
    """Every file has one row, bad ones with their reason, and both commands gave the same probabilities."""
    ray = pd.read_parquet(grades).set_index("path").sort_index()
    plain = pd.read_csv(table, keep_default_na=False).set_index("path").sort_index()
    names = sorted(str(path) for path in images.iterdir())
    assert ray.index.tolist() == names, "photographs are lost or there twice"
    assert plain.index.tolist() == names
    assert sorted(Path(path).name for path in ray.index[ray["error"] != ""]) == sorted(BAD)
    columns = [name for name in ray if name.startswith("p_")]
    good = ray["error"] == ""
    np.testing.assert_allclose(ray.loc[good, columns], plain.loc[good, columns].astype(float), atol=1e-5)


def describe(ray: dict[str, Any], plain: dict[str, Any], count: int, part: int) -> str:
    """Return the page: both commands, and the memory of the workers."""
    from retinai.runtime.cpu import this_cpu

    million = 1e6 / count
    memory = "; ".join(f"{own[0]:.0f} MB after its first part, {own[-1]:.0f} after its last of {len(own)}"
                       for own in ray["actors"])  # fmt: skip
    lines = [
        f"{count:,} photographs of {SIDE} pixels by an EfficientNet-Lite0 of {SIDE} pixels (ONNX Runtime, fp32, "
        f"batch_size={BATCH}, part_size={part}) on {os.cpu_count()} cores ({this_cpu().name}, load "
        f"{os.getloadavg()[1]:.1f}); one of the two workers was killed after a third of the parts. Every file has one "
        "row, the two that are no photographs have their reason, and both commands gave the same probabilities.",
        "",
        "| | whole command, s | photographs a second | processor seconds per million |",
        "|---|---:|---:|---:|",
        f"| plain command | {plain['seconds']:.0f} | {count / plain['seconds']:.0f} | "
        f"{plain['processor'] * million:,.0f} (all processes) |",
        f"| `engine=ray`, two workers | {ray['seconds']:.0f} | {count / ray['seconds']:.0f} whole, {ray['rate']:.0f} "
        f"without the start of Python | {ray['processor'] * million:,.0f} (the workers) |",
        "",
        f"The most memory of each worker: {memory}. The command itself: {ray['command'][0]:.0f} MB when the first part "
        f"was there, {ray['command'][1]:.0f} MB at most.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
