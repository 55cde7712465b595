"""What foundation models cost on this CPU: a small encoder at a high resolution beside a large one, and pre-training.

    python benchmarks/foundation.py               two to five minutes
    python benchmarks/foundation.py docs=true     also puts the figures into docs/foundation.md
    python benchmarks/foundation.py rounds=9      more rounds (default 5)

Weights are random: they change no time and no size. One core, in turns (A B, A B), ratios within a round and of
processor time, which other work on the machine lengthens least.

1. RETFound-Green (ViT-S/14 with registers, 392 pixels) beside RETFound (ViT-L/16, 224 pixels): parameters, file,
   milliseconds per photograph through the code of `retinai embed`, bytes of an embedding.
2. A step of Token Reconstruction beside the bare sum of what it cannot do without: the reference's forward pass, and
   the student's forward and backward pass with the optimiser's step, on the same photographs.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import mse_loss  # noqa: E402

from benchmarks.common import Times, ratio_of, read_options, side_by_side  # noqa: E402
from benchmarks.student import put  # noqa: E402
from retinai.benchmark.worker import keep_to_cores  # noqa: E402
from retinai.config.compose import compose  # noqa: E402
from retinai.embeddings.steps import FrozenEncoder  # noqa: E402
from retinai.encoders.encoder import Encoder, build_encoder  # noqa: E402
from retinai.pretraining.module import TokenReconstruction  # noqa: E402
from retinai.pretraining.reference import Reference  # noqa: E402
from retinai.pretraining.tokens import tokens_of  # noqa: E402
from retinai.run.factories import plain, preprocessing_of  # noqa: E402

SMALL, LARGE = "retfound_green", "retfound"
NAMES = {SMALL: "RETFound-Green, ViT-S/14 at 392 px", LARGE: "RETFound, ViT-L/16 at 224 px"}
# Photographs of a batch in pre-training, by the backbone that is measured.
BATCHES = {"retfound_green": 4, "efficientnet_lite0": 16}
CLIP = 0.1
HALF = 2  # bytes of a number in float16, in which embeddings are kept


def main() -> None:
    """Measure, print the page, and write it into the document where that is asked for."""
    options = read_options(sys.argv[1:], {"rounds": "5", "docs": "false"}, __file__)
    rounds = int(options["rounds"])
    keep_to_cores(1)
    torch.set_num_threads(1)
    encoders = {name: encoder_of(name) for name in (SMALL, LARGE)}
    page = describe_encoders(encoders, time_encoders(encoders, rounds))
    steps = {name: time_steps(name, batch, rounds) for name, batch in BATCHES.items()}
    page += describe_steps(steps)
    print(page)
    if options["docs"] == "true":
        put(REPOSITORY / "docs" / "foundation.md", "costs", page)


def encoder_of(name: str) -> Encoder:
    """Return the encoder of a configuration with random weights."""
    cfg = compose("train", [f"backbone={name}", "backbone.weights=none"])
    return build_encoder(plain(cfg.backbone))


def photographs(encoder: Encoder, count: int) -> Tensor:
    """Return noise in the form of photographs, (count, 3, S, S); what they show takes no time."""
    side = encoder.preprocessing.input_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def time_encoders(encoders: dict[str, Encoder], rounds: int) -> Times:
    """Time one photograph through each encoder as `retinai embed` calls it."""

    def once(frozen: FrozenEncoder, images: Tensor) -> None:
        with torch.inference_mode():
            frozen(images)

    contenders: dict[str, Callable[[], None]] = {}
    for name, encoder in encoders.items():
        frozen, images = FrozenEncoder(encoder, "own").eval(), photographs(encoder, 1)
        contenders[name] = lambda frozen=frozen, images=images: once(frozen, images)  # type: ignore[misc]
    return side_by_side(contenders, rounds)


def time_steps(name: str, batch: int, rounds: int) -> Times:
    """Time a step of Token Reconstruction, with the reference's tokens computed and kept, beside its bare parts."""
    words = [f"backbone={name}", "backbone.weights=none", "model=token_reconstruction", "phase=pretrain"]
    cfg = compose("train", words)
    sections = {key: value for key, value in plain(cfg.model).items() if key not in ("_target_", "name")}
    preprocessing = preprocessing_of(plain(cfg.backbone), {}).to_dict()
    module: Any = TokenReconstruction(**sections, preprocessing=preprocessing, seed=0)
    module.reference = Reference(module.network.encoder)
    module.train()
    encoder, images = module.network.encoder, photographs(module.network.encoder, batch)
    optimizer = module.optimizer_settings.build(module.parameter_groups())
    kept = module.reference.tokens(images)

    def learn(loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.network.parameters(), CLIP)
        optimizer.step()

    def bare() -> None:
        target = module.reference.tokens(images)
        learn(mse_loss(tokens_of(encoder, images).values, target.values))

    step = {
        "bare": bare,
        "step": lambda: learn(module.loss(images, module.reference.tokens(images))),
        "kept": lambda: learn(module.loss(images, kept)),
    }
    return side_by_side(step, rounds, items=batch)


def describe_encoders(encoders: dict[str, Encoder], times: Times) -> str:
    """Return the table of the encoders and their ratios."""
    from retinai.runtime.cpu import this_cpu

    sizes = {name: sum(p.numel() for p in encoder.net.parameters()) for name, encoder in encoders.items()}
    files = {
        name: sum(t.numel() * t.element_size() for t in e.net.state_dict().values()) for name, e in encoders.items()
    }
    kept = {name: HALF * encoder.num_features for name, encoder in encoders.items()}
    faster = ratio_of(times.processor, LARGE, SMALL)
    lines = [
        f"{this_cpu().name}, one core, one photograph at a time, {len(times.seconds[SMALL])} rounds, load "
        f"{os.getloadavg()[0]:.1f}; PyTorch {torch.__version__}, float32, random weights (they change no time).",
        "",
        "| encoder | parameters, million | file, MB | ms per photograph (fastest to slowest) | embedding, bytes |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in (SMALL, LARGE):
        used = [1e3 * t for t in times.processor[name]]
        spread = f"{statistics.median(used):.0f} ({min(used):.0f} to {max(used):.0f})"
        lines.append(f"| {NAMES[name]} | {sizes[name] / 1e6:.1f} | {files[name] / 1e6:.0f} | {spread} | {kept[name]} |")
    ratios = (sizes[LARGE] / sizes[SMALL], files[LARGE] / files[SMALL], faster, kept[LARGE] / kept[SMALL])
    cells = [f"{ratio:.1f}" for ratio in ratios]
    lines.append(f"| large / small | {' | '.join(cells)} |")
    lines.append("| published | 13.8 | 14 | 2.7 | 2.7 |")
    return "\n".join(lines) + "\n\n"


def describe_steps(steps: dict[str, Times]) -> str:
    """Return the table of the steps of pre-training."""
    lines = [
        "| a step of Token Reconstruction | bare passes, ms per photograph | step / bare (at most 1.1) "
        "| with the reference's tokens kept |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, times in steps.items():
        bare = 1e3 * statistics.median(times.processor["bare"])
        ratios = [ratio_of(times.processor, one, "bare") for one in ("step", "kept")]
        lines.append(
            f"| `{name}`, batches of {BATCHES[name]} | {bare:.0f} | {ratios[0]:.2f} "
            f"({'met' if ratios[0] <= 1.1 else 'missed'}) | {ratios[1]:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
