"""The clinic's page under load: how fast it starts and answers, and what twenty people at once cost.

    python benchmarks/page_load.py                    drawn photographs of 2000 pixels
    python benchmarks/page_load.py photographs=FOLDER native photographs instead
    python benchmarks/page_load.py docs=true          also puts the figures into docs/clinic.md
    python benchmarks/page_load.py people=3 each=1    does it work here? the times say little

The model is an EfficientNet-Lite0 of 224 pixels in ONNX Runtime; what it learned takes no time. Photographs go to the
page's own service by REST, which waits in the same line as the page. Every answer is compared with that of the model
alone: one that belongs to somebody else's photograph ends the benchmark.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))

import httpx  # noqa: E402
import psutil  # noqa: E402
from served_page import Served, served  # noqa: E402

from benchmarks.common import read_options  # noqa: E402
from benchmarks.student import put, retinai  # noqa: E402

SIDE, STARTS = 224, 3
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


class Load(NamedTuple):
    """What some people at once found.

    Args:
        seconds: From the request to the answer, of each photograph.
        whole: From the first request to the last answer.
        megabytes: The most memory that page and readers took together.
    """

    seconds: list[float]
    whole: float
    megabytes: float


def main() -> None:
    """Make a model, start the page, ask it alone and at once, and print the table."""
    defaults = {"people": "20", "each": "5", "photographs": "", "docs": "false"}
    options = read_options(sys.argv[1:], defaults, __file__)
    people, each = int(options["people"]), int(options["each"])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model = make_model(place)
        photographs = read_photographs(place, options["photographs"])
        expected = answers_alone(model, photographs, place)
        starts = [start_once(model, place / f"start{number}") for number in range(STARTS)]
        with page(model, place / "page") as running:
            ask(running, photographs[:1], expected)  # the first answer warms up what is loaded late
            resting = memory(running)
            alone = ask_at_once(running, photographs, expected, 1, each * 2)
            crowd = ask_at_once(running, photographs, expected, people, each)
    text = describe(starts, resting, alone, crowd, people, photographs)
    print(text)
    if options["docs"] == "true":
        put(REPOSITORY / "docs" / "clinic.md", "load", text)


def make_model(place: Path) -> Path:
    """Return the folder that `retinai export` wrote of a network of the size that the page is meant for."""
    cache = f"paths.cache={place / 'cache'}"
    retinai("train", "data=synthetic", "data.n=60", "data.size=256", "backbone=efficientnet_lite0", "logger=none",
            "backbone.weights=none", "trainer=cpu", "trainer.max_epochs=1", f"backbone.input_size={SIDE}",
            f"run_dir={place / 'run'}", cache)  # fmt: skip
    ckpt = place / "run" / "checkpoints" / "best.ckpt"
    retinai("export", f"ckpt={ckpt}", f"out={place / 'model'}", "force=true", cache)
    return place / "model"


def read_photographs(place: Path, folder: str) -> list[bytes]:
    """Return the bytes of photographs: those of a folder, or drawn ones as JPEG."""
    if folder:
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not files:
            sys.exit(f"error: photographs={folder} holds no photograph")
        return [path.read_bytes() for path in files[:20]]
    from PIL import Image

    from retinai.synthetic.cohort import write_cohort

    write_cohort(place / "drawn", "aptos", 20, size=2000, seed=0, progress=False)
    found = []
    for source in sorted((place / "drawn").rglob("*.png"))[:20]:
        target = source.with_suffix(".jpg")
        Image.open(source).convert("RGB").save(target, quality=92)
        found.append(target.read_bytes())
    return found


def answers_alone(model: Path, photographs: Sequence[bytes], place: Path) -> dict[str, dict[str, float]]:
    """Return what the model says of each photograph without a page, by its SHA-256."""
    from retinai.runtime import ExportedModel

    grader, folder = ExportedModel(model, threads=1), place / "alone"
    folder.mkdir()
    found = {}
    for data in photographs:
        digest = hashlib.sha256(data).hexdigest()
        (folder / f"{digest}.jpg").write_bytes(data)
    for row in grader.predict(folder, workers=0).to_dict("records"):
        found[row["id"]] = {} if row["error"] else {name: row[f"p_{name}"] for name in grader.task.classes}
    if not all(found.values()):
        sys.exit(
            "error: some photographs are none, so their answers cannot be compared; choose photographs= of retinas"
        )
    return found


def page(model: Path, folder: Path) -> Any:
    """Return the page, to be used in a `with` block."""
    return served(Path(sys.executable), folder, [f"model={model}", "port=0", "audit=null"],
                  {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})  # fmt: skip


def start_once(model: Path, folder: Path) -> float:
    """Return the seconds from the command to the address that it tells."""
    with page(model, folder) as running:
        assert httpx.get(f"{running.url}/api/v1/model", timeout=60).status_code == 200
        return running.seconds


def ask(running: Served, photographs: Sequence[bytes], expected: dict[str, dict[str, float]]) -> list[float]:
    """Ask about photographs one after another; return how long each took, and leave if an answer is another's."""
    seconds = []
    with httpx.Client(timeout=600) as client:
        for data in photographs:
            began = time.perf_counter()
            answer = client.post(f"{running.url}/api/v1/grade", files={"photograph": data})
            seconds.append(time.perf_counter() - began)
            content, digest = answer.json(), hashlib.sha256(data).hexdigest()
            if answer.status_code != 200 or content["photograph_sha256"] != digest:
                sys.exit(f"error: an answer is about another photograph: {content}")
            for name, value in content["probabilities"].items():
                if abs(value - expected[digest][name]) > 1e-4:
                    sys.exit(f"error: an answer differs from that of the model alone: {content}")
    return seconds


def ask_at_once(
    running: Served, photographs: Sequence[bytes], expected: dict[str, dict[str, float]], people: int, each: int
) -> Load:
    """Have people ask at once, each about photographs of their own, one after another."""
    done, peak = threading.Event(), [memory(running)]

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], memory(running))

    watcher = threading.Thread(target=watch)
    watcher.start()
    own = [[photographs[(person + step) % len(photographs)] for step in range(each)] for person in range(people)]
    began = time.perf_counter()
    try:
        with ThreadPoolExecutor(people) as crowd:
            found = list(crowd.map(lambda some: ask(running, some, expected), own))
    finally:
        whole = time.perf_counter() - began
        done.set()
        watcher.join()
    return Load([second for some in found for second in some], whole, peak[0])


def memory(running: Served) -> float:
    """Return the memory of the page and its readers now, in megabytes; pages that they share count once for each."""
    process = psutil.Process(running.process.pid)
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended in between
    return total / 1e6


def describe(
    starts: Sequence[float], resting: float, alone: Load, crowd: Load, people: int, photographs: Sequence[bytes]
) -> str:
    """Return the table with its sentence."""
    from retinai.runtime.cpu import this_cpu

    size = statistics.median(len(data) for data in photographs) / 1e6
    rates = [len(load.seconds) / load.whole for load in (alone, crowd)]
    rows = [
        ("photographs", f"{len(alone.seconds)}", f"{len(crowd.seconds)}"),
        ("median answer, s", *(f"{statistics.median(load.seconds):.2f}" for load in (alone, crowd))),
        ("slowest answer, s", *(f"{max(load.seconds):.2f}" for load in (alone, crowd))),
        ("photographs a second", *(f"{rate:.2f}" for rate in rates)),
        ("most memory, MB", *(f"{load.megabytes:.0f}" for load in (alone, crowd))),
    ]
    lines = [
        f"An EfficientNet-Lite0 of {SIDE} pixels (ONNX Runtime, fp32) and photographs of {size:.1f} MB, on "
        f"{os.cpu_count()} cores ({this_cpu().name}, load {os.getloadavg()[1]:.1f}): the page starts in "
        f"{statistics.median(starts):.1f} s (median of {len(starts)}) and takes {resting:.0f} MB at rest with its "
        f"readers. {people} people at once have their photographs graded at {rates[1] / rates[0]:.2f} times the rate "
        f"of one, and with {crowd.megabytes / alone.megabytes:.2f} times the memory. Every answer was that of the "
        "model alone about the same photograph.",
        "",
        f"| | one person | {people} people at once |",
        "|---|---:|---:|",
        *(f"| {name} | {one} | {many} |" for name, one, many in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
