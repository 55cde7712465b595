"""Class activation maps beside pytorch-grad-cam, and beside a plain forward and backward pass.

    python benchmarks/explain.py                              ResNet-18 and EfficientNet-Lite0 at 224 px, batch 32
    python benchmarks/explain.py method=layercam batch=1      another method or batch
    python benchmarks/explain.py out=FOLDER                   where explain.json goes (default: outputs/benchmarks)

The same network, layer, pixels and classes, in turns, on one thread. Maps are equal after pytorch-grad-cam's own
scaling, which is checked before the clock starts. Weights do not change what a map costs, so the networks have none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from benchmarks.common import Result, print_results, ratio_of, read_options, side_by_side  # noqa: E402
from retinai.config.paths import conf_dir  # noqa: E402
from retinai.explain.layers import find_layer  # noqa: E402
from retinai.explain.methods import Question, all_maps  # noqa: E402
from retinai.modules.classifier import Classifier  # noqa: E402
from retinai.tasks.known import DR_GRADE  # noqa: E402

SIDE = 224
OURS, THEIRS, PASS = "retinai", "pytorch-grad-cam", "forward and backward"
NETWORKS = ("resnet18", "efficientnet_lite0")
DEFAULTS = {"method": "gradcam", "batch": "32", "rounds": "7", "out": "outputs/benchmarks"}


def main() -> None:
    """Measure, print the ratios and times, write `explain.json`."""
    options = read_options(sys.argv[1:], DEFAULTS, __file__)
    torch.set_num_threads(1)
    results = []
    for backbone in NETWORKS:
        results += compare(backbone, options["method"], int(options["batch"]), int(options["rounds"]))
    from retinai.files import write_json

    write_json(Path(options["out"]) / "explain.json", {"threads": 1, "results": [r.to_dict() for r in results]})
    print_results(results, f"maps of {options['batch']} photographs of {SIDE} px", "seconds", 3)


def compare(backbone: str, method: str, batch: int, rounds: int) -> list[Result]:
    """Return our speed against pytorch-grad-cam's, and our cost against a forward and backward pass.

    Args:
        backbone: Name of its configuration.
        method: `gradcam`, `gradcampp`, `hirescam` or `layercam`.
        batch: Photographs at once.
        rounds: How often each is timed.
    """
    question = make_question(backbone, batch)
    library = theirs(question, method)
    check_equal(all_maps(question, [method])[method], library())
    contenders = {OURS: partial(all_maps, question, [method]), THEIRS: library, PASS: partial(one_pass, question)}
    times = side_by_side({name: partial(_run, action) for name, action in contenders.items()}, rounds)
    used = times.processor
    details = {"backbone": backbone, "method": method, "batch": batch, "processor_seconds": used}
    faster, cost = ratio_of(used, THEIRS, OURS), ratio_of(used, OURS, PASS)
    both = {name: used[name] for name in (OURS, THEIRS)}
    return [
        Result(f"{method} of {backbone}: {THEIRS} / {OURS}", ">= 1.5x", faster, both, details),
        Result(
            f"{method} of {backbone}: {OURS} / {PASS}", "<= 2.5x", cost, {n: used[n] for n in (OURS, PASS)}, details
        ),
    ]


def make_question(backbone: str, batch: int) -> Question:
    """Return an untrained classifier with pixels at random and a class for each."""

    def section(group: str, name: str) -> dict:
        return yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text())

    torch.manual_seed(0)
    module = Classifier(
        task=DR_GRADE.to_dict(),
        preprocessing={"input_size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3},
        class_counts=[1] * 5,
        backbone=section("backbone", backbone) | {"weights": "none", "input_size": SIDE},
        attention=section("attention", "none"),
        tuning=section("tuning", "full"),
        loss=section("loss", "cross_entropy"),
        optimizer=section("optimizer", "adamw"),
        scheduler=section("scheduler", "onecycle"),
    ).eval()
    with torch.no_grad():
        module.network.head.weight.mul_(30)  # a fresh head is nearly even
    images = torch.randn(batch, 3, SIDE, SIDE)
    classes = (torch.arange(batch) % 5)[:, None]
    inside = torch.ones(batch, SIDE, SIDE, dtype=torch.bool)
    return Question(module, (images,), classes, inside, find_layer(module.network.encoder, "last"))


def theirs(question: Question, method: str) -> Callable[[], np.ndarray]:
    """Return a function that makes the maps with pytorch-grad-cam, its hooks set once as its users do."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kinds = {"gradcam": "GradCAM", "gradcampp": "GradCAMPlusPlus", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
    kind = getattr(pytorch_grad_cam, kinds[method])(model=question.module, target_layers=[question.layer])
    targets = [ClassifierOutputTarget(int(k)) for k in question.classes[:, 0]]
    return lambda: np.asarray(kind(input_tensor=question.inputs[0], targets=targets))


def check_equal(ours: torch.Tensor, library: np.ndarray) -> None:
    """Stop unless our maps, scaled and enlarged as pytorch-grad-cam does, are its maps."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    positive = np.maximum(ours[:, 0].numpy(), 0)
    scaled = scale_cam_image(scale_cam_image(positive, (SIDE, SIDE))[:, None].max(axis=1))
    if not np.allclose(scaled, library, atol=1e-4):
        sys.exit(f"error: the maps differ by up to {np.abs(scaled - library).max():.4f}; their times do not compare")


def one_pass(question: Question) -> None:
    """Forward, and backward to the weights, as in a step of training without the optimiser."""
    module = question.module
    module.zero_grad(set_to_none=True)
    module(question.inputs[0]).gather(1, question.classes).sum().backward()


def _run(action: Callable[[], object]) -> None:
    action()


if __name__ == "__main__":
    main()
