"""Start weights that ODIR's course gives: a state dict of torchvision, whose head of three labels is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retinai.encoders.published import conversion
from retinai.encoders.weights import load_weights, read_checkpoint, unwrap_state
from retinai.errors import CheckpointError
from retinai.modules.base import BaseModule
from retinai.modules.classifier import Classifier
from retinai.tasks.known import ODIR_COURSE

# The head of torchvision's ResNet and EfficientNet.
_HEADS = ("fc", "classifier.1")


def load_course_weights(path: Path, module: BaseModule) -> list[str]:
    """Load a network of the course, head included, so that it can be measured without any training.

    Args:
        path: The file.
        module: A classifier of the course's three labels with a single linear head and no other parts.

    Returns:
        A sentence that says where the weights came from.

    Raises:
        CheckpointError: If the file does not fit the module.
    """
    source = str(path)
    state = unwrap_state(read_checkpoint(path), source)
    head = next((name for name in _HEADS if f"{name}.weight" in state and f"{name}.bias" in state), None)
    if head is None:
        raise CheckpointError(f"{source} has no head ({' or '.join(_HEADS)}), so it is no network of the course")
    weight, bias = state[f"{head}.weight"], state[f"{head}.bias"]
    network = _checked_network(module, source, len(bias))
    if weight.shape != network.head.weight.shape:
        mend = "choose the backbone that it was made with"
        raise CheckpointError(
            f"{source} has a head for {weight.shape[-1]} features, {module.backbone_name} not; {mend}"
        )
    rest = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    report = load_weights(network.encoder.net, rest, source=source, convert=conversion(network.encoder.net, source))
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return [f"start weights: {report}, and the head of {', '.join(ODIR_COURSE.classes)}"]


def _checked_network(module: BaseModule, source: str, outputs: int) -> Any:
    """Return the network of a module that can take a head of the course."""
    if not isinstance(module, Classifier):
        raise CheckpointError(f"+init=course_ckpt is for model=classifier, not {module.model_name}")
    if module.task.classes != ODIR_COURSE.classes or outputs != len(ODIR_COURSE.classes):
        raise CheckpointError(
            f"{source} has a head of {outputs} outputs, the course's labels are {', '.join(ODIR_COURSE.classes)}, and "
            f"this run's are {', '.join(module.task.classes)}; give the course's photographs with data.layout=course"
        )
    network: Any = module.network
    if network.hidden is not None or network.attention is not None or len(network.branches):
        raise CheckpointError(
            "+init=course_ckpt keeps the course's head, which reads the backbone's features; leave out model.hidden, "
            "attention and branches (backbone.weights=FILE takes the backbone alone)"
        )
    return network
