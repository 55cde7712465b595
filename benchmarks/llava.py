"""LLaVA's speed side by side: grading against free text, training against TRL, and 7 billion parameters on a GPU.

    python benchmarks/llava.py                 two minutes on 2 cores; with a GPU the 7B rows too
    python benchmarks/llava.py shape=tiny      no 7B rows (shape=7b: only those)
    python benchmarks/llava.py quick=true      fewer rounds and photographs, for a first look
    python benchmarks/llava.py out=FOLDER      where llava.json goes (default: outputs/benchmarks)

1. One grade by the likelihoods of the five sentences against a free text of exactly 64 tokens.
2. A training step through `LlavaGrader` against TRL's SFTTrainer: same network file, 4-bit quantisation, adapters,
   projector, texts, pixels, order, accumulation and optimiser, both with gradient checkpointing. Tokens, labels,
   pixels and the number of trained parameters are compared before the clock starts.
3. With a GPU: the same at the shape of LLaVA-1.5-7B with random weights, its memory and photographs per second. It
   writes 14 GB of weights into the temporary folder and loads them as those of the hub would be.

The contenders take turns on two threads; shown are medians, and of the ratios the median over rounds. Nothing fails
on a time. Needs pip install ".[llava,benchmark]".
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
THREADS = 2
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

if TYPE_CHECKING:
    from benchmarks.common import Result

SHAPES = {"auto": ("tiny", "7b"), "tiny": ("tiny",), "7b": ("7b",)}


def main() -> None:
    """Run the comparisons, print the table, write `llava.json`."""
    from benchmarks.common import print_results, read_options

    options = read_options(sys.argv[1:], {"shape": "auto", "quick": "false", "out": "outputs/benchmarks"}, __file__)
    if options["shape"] not in SHAPES:
        sys.exit(f"error: shape={options['shape']} is unknown; valid: {', '.join(SHAPES)}")
    require_packages()
    quick = options["quick"].lower() == "true"
    results, machine = measure(SHAPES[options["shape"]], quick)

    from retinai.files import write_json

    target = Path(options["out"]) / "llava.json"
    write_json(target, {"machine": machine, "quick": quick, "results": [result.to_dict() for result in results]})
    title = f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}, load {machine['load']}"
    print_results(results, title, "per photograph", digits=3)
    print(f"written: {target}")


def require_packages() -> None:
    """Leave with the pip line if a package is missing."""
    import importlib.util

    from retinai.errors import MissingExtraError
    from retinai.llava.loading import require_llava_packages

    try:
        require_llava_packages()
        for package in ("trl", "datasets"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "benchmark")
    except MissingExtraError as error:
        sys.exit(f"error: {error}")


def measure(shapes: tuple[str, ...], quick: bool) -> tuple[list[Result], dict[str, Any]]:
    """Run everything.

    Args:
        shapes: Of `tiny` and `7b`; the latter is not measured without a GPU.
        quick: Fewer rounds and photographs.

    Returns:
        The results and the facts of the machine.
    """
    import torch

    from benchmarks import llava_rows
    from retinai.llava.loading import quiet_transformers

    torch.set_num_threads(THREADS)
    quiet_transformers()
    gpu = torch.cuda.is_available()
    before = os.getloadavg()[0]
    results: list[Result] = []
    for shape in shapes:
        if shape == "7b" and not gpu:
            results += llava_rows.not_measured(shape)
            continue
        with tempfile.TemporaryDirectory(prefix="retinai_llava_") as scratch:
            results += llava_rows.measure(shape, Path(scratch), llava_rows.QUICK if quick else llava_rows.FULL)
    device = torch.cuda.get_device_name() if gpu else "CPU"
    load = {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)}
    return results, {"device": device, "threads": THREADS, "torch": str(torch.__version__), "load": load}


if __name__ == "__main__":
    main()
