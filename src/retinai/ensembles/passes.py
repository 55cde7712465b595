"""Several answers of one network: about a photograph and its flips, and with units left out as dropout does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retinai.errors import UserError
from retinai.modules.classifier import Classifier
from retinai.modules.grading import GradingModule
from retinai.modules.outside import pooling_by

FLIPS = 4
_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class Passes:
    """How often a network is asked about a photograph.

    Args:
        views: `flips`: about the photograph and its horizontal, vertical and double flip; `one`: about the photograph
            alone; None: as it was trained.
        dropout_samples: With so many choices of units that are left out (Monte Carlo dropout); 0: with all units.
        seed: Decides which units those are.

    Source: Gal & Ghahramani, "Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning",
        ICML 2016. A choice holds for all photographs, as one draw of the weights does, so that an answer does not
        depend on what else is in the batch.
    """

    views: str | None = None
    dropout_samples: int = 0
    seed: int = 0

    @classmethod
    def of(cls, cfg: Any) -> Passes:
        """Return what the keys `views`, `dropout_samples` and `dropout_seed` of a command ask for."""
        return cls(cfg.get("views"), int(cfg.get("dropout_samples") or 0), int(cfg.get("dropout_seed") or 0))

    @property
    def on(self) -> bool:
        """Whether anything else is asked for than what a checkpoint does by itself."""
        return self.views is not None or self.dropout_samples > 0

    @property
    def answers(self) -> int:
        """How many answers there are of each network."""
        return (FLIPS if self.views == "flips" else 1) * max(self.dropout_samples, 1)

    def __str__(self) -> str:
        """Return it in words, such as `4 flips x 20 choices of dropped units`; empty where it is not on."""
        views = {"flips": f"{FLIPS} flips", "one": "the photograph alone"}.get(str(self.views))
        dropped = f"{self.dropout_samples} choices of dropped units" if self.dropout_samples else None
        return " x ".join(word for word in (views, dropped) if word)

    def check(self, paths: Sequence[Path], members: Sequence[GradingModule]) -> None:
        """Refuse networks that cannot be asked so.

        Args:
            paths: Their files, for the messages.
            members: What they hold, one each.

        Raises:
            UserError: Names the first that is no classifier, or has no dropout.
        """
        for path, member in zip(paths, members, strict=True):
            if self.on and not isinstance(member, Classifier):
                raise UserError(
                    f"views= and dropout_samples= are of classifiers, and {path} is a checkpoint of model "
                    f"{member.model_name!r}; leave them out"
                )
            if self.dropout_samples and not dropout_layers(member.network):
                raise UserError(
                    f"dropout_samples={self.dropout_samples} needs a network with dropout, and {path} was trained with "
                    "model.dropout=0; leave it out, or choose views=flips or several checkpoints"
                )

    def run(self, member: GradingModule, batch: Mapping[str, Any]) -> list[Tensor]:
        """Return the probabilities of each answer of a network, (B, C) each, as the network gives them.

        Args:
            member: In evaluation mode.
            batch: On its device.
        """
        inputs = member.network_inputs(batch)
        if not isinstance(member, Classifier) or not self.on:
            return [member.predict_probabilities(*inputs)]
        flips = member.test_time_flips
        try:
            member.test_time_flips = {"flips": True, "one": False}.get(str(self.views), flips)
            return self._answers(member, inputs)
        finally:
            member.test_time_flips = flips

    def _answers(self, member: Classifier, inputs: Sequence[Tensor]) -> list[Tensor]:
        def views() -> list[Tensor]:
            found = member.probabilities_of_views(*inputs)
            # Flips that belong to the checkpoint itself are one answer, as they are without this.
            return found if self.views is not None else [torch.stack(found).mean(dim=0)]

        if not self.dropout_samples:
            return views()
        found = []
        with features_once(member.network) as again:
            for number in range(self.dropout_samples):
                again()
                with thinned(member.network, self.seed, number):
                    found += views()
        return found


def dropout_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a network that drop units or channels, by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, _LAYERS) and layer.p > 0}


@contextmanager
def thinned(network: nn.Module, seed: int, number: int) -> Iterator[None]:
    """Leave out units as dropout does in training, the same ones for all photographs.

    Args:
        network: In evaluation mode, which it stays in: batch normalisation is not touched.
        seed: Seed.
        number: Of the choice; another one leaves out other units.
    """
    with ExitStack() as hooks:
        for name, layer in dropout_layers(network).items():
            digest = hashlib.sha256(f"{seed}/{number}/{name}".encode()).digest()
            handle = layer.register_forward_hook(_dropping(int.from_bytes(digest[:7], "big")))
            hooks.callback(handle.remove)
        yield


def _dropping(seed: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def drop(layer: Any, _: Any, values: Tensor) -> Tensor:
        # A plain layer drops single values, the others whole channels.
        shape = values.shape[1:] if type(layer) is nn.Dropout else (values.shape[1], *[1] * (values.ndim - 2))
        generator = torch.Generator().manual_seed(seed)
        kept = torch.bernoulli(torch.full(tuple(shape), 1 - layer.p), generator=generator)
        return values * (kept / (1 - layer.p)).to(values)

    return drop


@contextmanager
def features_once(network: Any) -> Iterator[Callable[[], None]]:
    """Compute pooled features once for all choices, where nothing is dropped before them.

    Args:
        network: An `ImageClassifier`.

    Yields:
        A function to call before each choice: the calls of `network.pooled` that follow are about the same photographs
        in the same order as those of the first.
    """
    parts = (network.encoder, network.attention)
    if any(dropout_layers(part) for part in parts if isinstance(part, nn.Module)):
        yield lambda: None
        return
    compute, known, calls = network.pooled, list[Tensor](), [0]

    def pooled(images: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > len(known):
            known.append(compute(images))
        return known[calls[0] - 1]

    def again() -> None:
        calls[0] = 0

    with pooling_by(network, pooled):
        yield again
