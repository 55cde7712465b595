"""All speed comparisons in one run, as ratios of things measured side by side on the same machine.

    python benchmarks/run.py                 a few minutes on 2 cores
    python benchmarks/run.py quick=true      fewer rounds and photographs, for a first look
    python benchmarks/run.py out=FOLDER      where benchmarks.json goes (default: outputs/benchmarks)

1. An epoch of the loader on prepared photographs against decoding originals of the size of APTOS.
2. A training step through the framework against a bare PyTorch loop on the same tensors.
3. Training throughput on prepared photographs against tensors already in memory.
4. `python train.py --help` and `retinai --help`.

Contenders take turns; shown are medians with the lowest and highest time. A busy machine gives wide
ranges: run it again when nothing else runs. Nothing fails on a time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Run the comparisons, print the table, write `benchmarks.json`."""
    from benchmarks.common import print_results, read_options

    options = read_options(sys.argv[1:], {"quick": "false", "out": "outputs/benchmarks"}, __file__)
    quick = options["quick"].lower() == "true"
    with tempfile.TemporaryDirectory() as scratch:
        results, machine = measure(Path(scratch), quick)

    from retinai.files import write_json

    target = Path(options["out"]) / "benchmarks.json"
    write_json(target, {"machine": machine, "quick": quick, "results": [result.to_dict() for result in results]})
    title = f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}"
    print_results(results, title, "times", digits=2)
    print(f"written: {target}")


def measure(scratch: Path, quick: bool) -> tuple[list[Any], dict[str, Any]]:
    """Run everything.

    Args:
        scratch: Folder for the photographs and their cache.
        quick: Fewer rounds and photographs.

    Returns:
        The results and the facts of the machine.
    """
    from benchmarks import startup

    results = [startup.measure(rounds=3 if quick else 5)]

    import pandas as pd
    import torch

    from benchmarks import loading, training
    from retinai.config.compose import compose
    from retinai.data.photographs.cache import PreparedCache
    from retinai.run import factories as assemble

    # One thread: several wait for each other at every operation, so that any other work on the machine
    # slows them many times over and nothing but that is measured.
    threads = 1
    torch.set_num_threads(threads)
    cfg = compose("train", ["backbone.weights=none"])
    preprocessing = assemble.preprocessing_of(assemble.plain(cfg.backbone), assemble.plain(cfg.data))
    augment = assemble.plain(cfg.augment)
    rounds, photographs, batch_size = (2, 12, 8) if quick else (3, 24, 8)

    table = loading.make_originals(scratch, photographs)
    cache = PreparedCache(scratch / "cache", preprocessing)
    cache.prepare(table["path"].tolist(), workers=0, progress=None)
    results.insert(0, loading.compare(table, cache, preprocessing, augment, rounds))

    # More rows than files: an epoch long enough to time, from files that are in the page cache as in training.
    copies = -(-(training.WARM + (3 if quick else 6)) * batch_size // len(table))
    long = pd.concat([table.assign(id=table["id"] + f"_{i}") for i in range(copies)], ignore_index=True)
    module = training.make_module(cfg, preprocessing, table)
    batches = list(loading.loader_of(long, cache, preprocessing, augment, batch_size))
    results.insert(1, training.compare_with_bare_loop(module, batches, rounds))
    in_memory = training.compare_with_memory(module, long, cache, preprocessing, augment, batch_size, rounds)
    results.insert(2, in_memory)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return results, {"device": device, "threads": threads, "torch": str(torch.__version__)}


if __name__ == "__main__":
    main()
