"""Which layers of an encoder get adapters: by what they do in the network, or by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from retinai.errors import ConfigError

if TYPE_CHECKING:
    from retinai.encoders.encoder import Encoder

# Names of timm's projections to queries, keys and values, and back to the tokens.
_PROJECTIONS = {"qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "proj", "out_proj"}


def _attention(path: Sequence[str], layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and "attn" in path and path[-1] in _PROJECTIONS


def _mlp(path: Sequence[str], layer: nn.Module) -> bool:
    return "mlp" in path


def _conv(path: Sequence[str], layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and "se" not in path  # squeeze and excitation sees one cell


def _conv1x1(path: Sequence[str], layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and _conv(path, layer)


# word -> whether it means a layer, from the parts of the layer's name and the layer.
_WORDS: dict[str, Callable[[Sequence[str], nn.Module], bool]] = {
    "attention": _attention,
    "mlp": _mlp,
    "conv": _conv,
    "conv1x1": _conv1x1,
}


def choose_layers(encoder: Encoder, targets: str | Sequence[str]) -> list[str]:
    """Return the names of the layers that targets mean, inside the encoder's `.net`, in the network's order.

    Only linear layers and convolutions without groups take adapters, so depthwise convolutions never do. The words
    leave out the stem; a regular expression is matched against whole names, the stem's too.

    Args:
        encoder: The encoder.
        targets: One or several of: `attention` (projections to queries, keys and values, and back), `mlp` (the
            linear layers, or 1x1 convolutions, after the attention), `conv` (convolutions), `conv1x1` (those with a
            kernel of one cell), a regular expression such as `blocks.1[01].attn.qkv`, or `auto` alone: `attention`
            where the encoder has it, else `conv` and `mlp`.

    Raises:
        ConfigError: If a target matches no layer; names what the encoder has.
    """
    able = {name: layer for name, layer in encoder.net.named_modules() if _takes_adapter(layer)}
    found = {word: _of_word(encoder, able, word) for word in _WORDS}
    if targets == "auto":
        chosen = found["attention"] or [*found["conv"], *found["mlp"]]
        if not chosen:
            raise ConfigError([f"tuning=lora finds no layer in backbone {encoder.name}; {_existing(found, able)}"])
        return [name for name in able if name in chosen]
    wanted = [targets] if isinstance(targets, str) else list(targets)
    matched = {t: found[t] if t in found else [n for n in able if re.fullmatch(t, n)] for t in wanted}
    problems = [
        f"tuning.targets={target} matches no layer of backbone {encoder.name}; {_existing(found, able)}"
        for target, names in matched.items()
        if not names
    ]
    if problems:
        raise ConfigError(problems)
    chosen = [name for names in matched.values() for name in names]
    return [name for name in able if name in chosen]


def _takes_adapter(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        # timm's convolution with padding of its own counts its padding as 0, which an adapter would copy.
        return layer.groups == 1 and (type(layer) is nn.Conv2d or layer.kernel_size == (1, 1))
    return isinstance(layer, nn.Linear)


def _of_word(encoder: Encoder, able: dict[str, nn.Module], word: str) -> list[str]:
    depths = encoder.depths()
    return [
        name
        for name, layer in able.items()
        if depths.get(f"{name}.weight", 0) > 0 and _WORDS[word](name.split("."), layer)
    ]


def _existing(found: dict[str, list[str]], able: dict[str, nn.Module]) -> str:
    words = [f"{word} ({len(names)} layers)" for word, names in found.items() if names]
    if not able:
        return "it has no layer that takes an adapter, so use tuning=full, head or partial"
    example = next((names[0] for names in found.values() if names), next(iter(able)))
    return f"it has {', '.join(words) or 'none of the words'}; names are such as {example!r}"
