"""LoRA: low-rank matrices that train beside an encoder's frozen weights, W + alpha / rank * B A, by PEFT."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from retinai.encoders.adapter_targets import choose_layers
from retinai.encoders.encoder import Encoder
from retinai.encoders.tuning import EncoderTuning
from retinai.errors import ConfigError, MissingExtraError

# The attribute of an encoder under which PEFT's model is kept; it shares the encoder's layers.
_ADAPTERS = "adapters"
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class LoraTuning(EncoderTuning):
    """Low-rank adapters on chosen layers of an encoder; its own weights are frozen, the head always trains.

    The matrices A (rank x inputs) and B (outputs x rank) are matrices of the layer beside which they stand: they
    have its learning rate under layer decay, and weight decay. B starts at 0, so the first logits are those of the
    encoder without adapters.

    Args:
        name: `lora`.
        rank: Rank of B A, at least 1.
        alpha: B A is multiplied by alpha / rank; above 0.
        dropout: Probability of dropping an input of A while training, in [0, 1).
        targets: Which layers get adapters, see `choose_layers`.
        norms: Whether the encoder's normalisation layers train too; frozen ones keep their running statistics.

    Raises:
        ConfigError: If a value is out of range.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    """

    name: str = "lora"
    rank: int = 8
    alpha: float = 16
    dropout: float = 0.05
    targets: str | Sequence[str] = "auto"
    norms: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.name != "lora":
            problems.append(f"tuning.name={self.name} has no adapters; choose tuning=lora")
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            problems.append(f"tuning.rank={self.rank} must be a whole number from 1")
        if not _is_number(self.alpha) or not 0 < self.alpha < math.inf:
            problems.append(f"tuning.alpha={self.alpha} must be a number above 0; with 0 the adapters have no effect")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            problems.append(f"tuning.dropout={self.dropout} is out of range (0 up to, not including, 1)")
        if not isinstance(self.norms, bool):
            problems.append(f"tuning.norms={self.norms} must be true or false")
        problems += _target_problems(self.targets)
        if problems:
            raise ConfigError(problems)

    def adapt(self, encoder: Encoder) -> tuple[list[str], str]:
        """Freeze an encoder and put adapters on its layers; see `EncoderTuning.adapt`.

        The first weights of A come from torch's generator.

        Raises:
            ConfigError: If a target matches no layer, or the encoder reads the weights of one without calling it.
            MissingExtraError: If PEFT is not installed.
        """
        layers = choose_layers(encoder, self.targets)
        _insert(encoder, self, layers)
        encoder.to(memory_format=encoder.memory_format)  # the new matrices too
        if self.norms:
            for part in encoder.net.modules():
                if "norm" in type(part).__name__.lower():  # timm has several besides PyTorch's
                    for parameter in part.parameters(recurse=False):
                        parameter.requires_grad_(True)
        trained = {name for name, part in encoder.net.named_modules() if any(_trained(part))}
        frozen = [key for key in encoder.net.state_dict() if key.rpartition(".")[0] not in trained]
        return frozen, f"LoRA of rank {self.rank} on {len(layers)} layers"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _trained(part: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in part.parameters(recurse=False)]


def _target_problems(targets: Any) -> list[str]:
    wanted = [targets] if isinstance(targets, str) else targets
    if not isinstance(wanted, Sequence) or not wanted or not all(isinstance(t, str) and t for t in wanted):
        return [f"tuning.targets={targets} must be a word or a list of words, such as attention or [attention,mlp]"]
    problems = []
    for target in wanted:
        try:
            re.compile(target)
        except re.error as error:
            problems.append(f"tuning.targets={target} is no regular expression: {error}")
    return problems


def _insert(encoder: Encoder, tuning: LoraTuning, layers: Sequence[str]) -> None:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,  # type: ignore[arg-type]  # PEFT takes fractions too
        lora_dropout=tuning.dropout,
        target_modules="|".join(re.escape(name) for name in layers),  # a list would match endings of names too
        bias="none",
    )
    # PEFT changes the layers of the net in place. Its model is kept beside the net, for merging, and not as a part of
    # it: the net's tensors would have two names each.
    object.__setattr__(encoder, _ADAPTERS, get_peft_model(encoder.net, config))
    unread = _unread(encoder, layers)
    if unread:
        raise ConfigError(
            [
                f"tuning=lora has no effect on {len(unread)} layers of backbone {encoder.name}, which reads their "
                f"weights without calling them (first {unread[0]!r}); choose other tuning.targets"
            ]
        )


def _unread(encoder: Encoder, layers: Sequence[str]) -> list[str]:
    """Return the layers whose adapters a photograph does not pass through."""
    passed: set[str] = set()
    parts = {name: encoder.net.get_submodule(f"{name}.lora_A") for name in layers}
    hooks = [
        child.register_forward_hook(lambda *_, name=name: passed.add(name))
        for name, part in parts.items()
        for child in part.children()
    ]
    training, side = encoder.training, encoder.preprocessing.input_size
    try:
        with torch.no_grad():
            encoder.eval().embed(torch.zeros(1, 3, side, side))
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return [name for name in layers if name not in passed]


def _adapters(module: nn.Module) -> Any:
    """Return PEFT's model of the encoder of a module; None where it has no adapters of this kind."""
    network: Any = getattr(module, "network", None)
    encoder = getattr(network, "encoder", None)
    return None if encoder is None else encoder.__dict__.get(_ADAPTERS)


def merge_adapters(encoder: Encoder) -> None:
    """Add the adapters of an encoder to its weights, in place; an encoder without adapters stays as it is.

    It then has the names and the number of weights that it had without adapters.
    """
    adapters = encoder.__dict__.pop(_ADAPTERS, None)
    if adapters is not None:
        adapters.merge_and_unload()


def merged(module: _Module) -> _Module:
    """Return a copy of a module with the adapters added to the encoder's weights; without adapters the module itself.

    Args:
        module: A LightningModule with `.network.encoder`.
    """
    if _adapters(module) is None:
        return module
    changed = copy.deepcopy(module)
    network: Any = changed.network
    merge_adapters(network.encoder)
    return changed


def start_state(source: nn.Module, target: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Return the weights of a trained module under the names that they have in another one of the same network.

    Adapters of the same rank, alpha and layers are kept; all others are merged into the weights first. Adapters that
    the other module has and the trained one had not are left out.

    Args:
        source: The trained module.
        target: The module that is to start from its weights.

    Returns:
        The state dict, and what a user should know of the adapters (empty if nothing).
    """
    theirs, ours = _shape(_adapters(source)), _shape(_adapters(target))
    if theirs == ours:
        return dict(source.state_dict()), ""
    state = merged(source).state_dict()
    names = {key.replace(".base_layer.", "."): key for key in target.state_dict()}
    notes = ["its adapters are merged into the weights"] if theirs else []
    notes += ["the adapters start fresh"] if ours else []
    return {names.get(key, key): value for key, value in state.items()}, "; ".join(notes)


def is_adapter(key: str) -> bool:
    """Whether a key of a state dict is of a matrix A or B."""
    return ".lora_A." in key or ".lora_B." in key


def _shape(adapters: Any) -> Mapping[str, Any] | None:
    if adapters is None:
        return None
    config = adapters.peft_config["default"]
    return {"rank": config.r, "alpha": config.lora_alpha, "layers": config.target_modules}
