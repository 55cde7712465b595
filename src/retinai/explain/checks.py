"""Is a map true to the network: does the answer follow what it marks, and does it follow the weights at all."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from retinai.explain.layers import find_layer
from retinai.explain.methods import Question, all_maps
from retinai.explain.regions import enlarge, reference_maps
from retinai.explain.step import Maps
from retinai.explain.view import ViewField
from retinai.metrics.bootstrap import bootstrap_weights, divide, interval
from retinai.prediction.steps import PredictionStep

STEPS = 10  # parts of the field of view that are covered or shown one after the other
RANDOM, EDGES = "random", "edges"
# A map that keeps more than this rank correlation when all weights are shuffled shows the photograph, not the network.
_MOST_ALIKE = 0.5


class Check(PredictionStep):
    """Deletion, insertion and randomisation of the maps that `Maps` found of the same batch.

    Deletion blurs the field of view from the most to the least marked pixel and follows the answer; insertion starts
    blurred and sharpens. Each is the mean of the answer over the way: low is good for deletion, high for insertion.
    Maps at random and the edges of the photograph, which `Carried` gives, say what any map reaches. The answer is the
    probability of the explained class, or of ordered losses the expected grade over the highest.

    Args:
        maps: The step before.
        layer: The name of its layer.
        module: The classifier.
        limit: So many photographs are checked, the first ones.

    Source: Petsiuk, Das and Saenko, "RISE", BMVC 2018 (deletion and insertion); Adebayo et al., "Sanity Checks for
        Saliency Maps", NeurIPS 2018 (randomisation).
    """

    name = "check"
    needs_gradients = True

    def __init__(self, maps: Maps, layer: str, module: Any, limit: int) -> None:
        self.maps, self.limit, self.done = maps, limit, 0
        self.shuffled = shuffle_weights(module)
        self.shuffled_layer = find_layer(self.shuffled.network.encoder, layer)
        self.draw = np.random.default_rng(0)

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each photograph a mapping of figures; an empty one beyond the limit."""
        count = len(batch["id"])
        todo = max(0, min(count, self.limit - self.done))
        self.done += todo
        if not todo:
            return {"check": [{} for _ in range(count)]}
        inputs = tuple(value[:todo] for value in module.network_inputs(batch))
        classes = found["class"][:todo, :1].to(inputs[0].device)
        question = Question(module, inputs, classes, batch[ViewField.name][:todo], self.maps.layer)
        other = replace(question, module=self.shuffled.to(inputs[0].device), layer=self.shuffled_layer)
        random_maps = all_maps(other, self.maps.methods)
        rows = [self._one(question, i, found, random_maps) for i in range(todo)]
        return {"check": [*rows, *({} for _ in range(count - todo))]}

    def _one(
        self, question: Question, i: int, found: Mapping[str, Any], shuffled: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        inside = question.inside[i].cpu().numpy()
        side = inside.shape[0]
        own = {method: _plane(found[method][i, 0]) for method in self.maps.methods}
        shown = found["photograph"][i].cpu().numpy()
        orders: dict[str, NDArray[Any]] = {name: enlarge(saliency, side) for name, saliency in own.items()}
        orders |= {RANDOM: self.draw.random((side, side)), EDGES: reference_maps(shown, inside)[EDGES]}
        row: dict[str, Any] = {}
        for name, saliency in orders.items():
            row[f"{name}/deletion"], row[f"{name}/insertion"] = self._follow(question, i, saliency, inside)
        for method, saliency in own.items():
            row[f"{method}/randomisation"] = rank_correlation(saliency, _plane(shuffled[method][i, 0]))
        for first in self.maps.methods:
            for second in self.maps.methods:
                if first < second:
                    row[f"{first} {second}/agreement"] = rank_correlation(orders[first], orders[second], inside)
        return row

    def _follow(
        self, question: Question, i: int, saliency: NDArray[Any], inside: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Return deletion and insertion of one photograph."""
        image = question.inputs[0][i].detach()
        blurred = _blur(image)
        # Ties, such as a map that is zero in places, are broken at random so that no order of pixels is favoured.
        order = np.lexsort((self.draw.random(int(inside.sum())), -saliency[inside]))
        places = np.flatnonzero(inside.ravel())[order]
        steps = [places[: round(len(places) * k / STEPS)] for k in range(STEPS + 1)]
        pictures = []
        for marked in steps:
            mask = torch.zeros(inside.size, dtype=torch.bool, device=image.device)
            mask[torch.from_numpy(marked).to(image.device)] = True
            mask = mask.view(1, *inside.shape)
            pictures += [torch.where(mask, blurred, image), torch.where(mask, image, blurred)]
        rows = torch.full((len(pictures),), i, device=image.device)
        with torch.no_grad():
            answers = self._answer(question, torch.stack(pictures), rows).view(-1, 2).mean(dim=0).tolist()
        return float(answers[0]), float(answers[1])

    def _answer(self, question: Question, images: Tensor, rows: Tensor) -> Tensor:
        """Return the answer for pixels of one photograph, (N,), from 0 to 1."""
        criterion, module = question.module.criterion, question.module
        probabilities = criterion.probabilities(module(images, *(value[rows] for value in question.inputs[1:])))
        if criterion.gives_class_logits:
            return probabilities.gather(1, question.classes[rows, :1])[:, 0]
        grades = torch.arange(probabilities.shape[1], device=images.device, dtype=probabilities.dtype)
        return (probabilities * grades).sum(dim=1) / grades[-1]


def shuffle_weights(module: Any, seed: int = 0) -> Any:
    """Return a copy of a module whose weights are shuffled inside each tensor, so that their spread stays."""
    other = copy.deepcopy(module)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.network.parameters():
            flat = parameter.flatten()
            parameter.copy_(flat[torch.randperm(len(flat), generator=draw)].view_as(parameter))
    return other.eval()


def rank_correlation(first: NDArray[Any], second: NDArray[Any], inside: NDArray[np.bool_] | None = None) -> float:
    """Return Spearman's correlation of two maps of one shape; NaN where one of them is the same everywhere."""
    from scipy.stats import rankdata

    a, b = ((m.ravel() if inside is None else m[inside]) for m in (first, second))
    ranks = rankdata(a), rankdata(b)
    if any(np.ptp(r) == 0 for r in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def summarise_checks(
    rows: Sequence[Mapping[str, float]], patients: Sequence[str], methods: Sequence[str], resamples: int
) -> dict[str, Any]:
    """Return the figures of the checks.

    Args:
        rows: Of `Check`, one per checked photograph.
        patients: Whose they are.
        methods: The methods.
        resamples: Of the bootstrap, whole patients at a time.

    Returns:
        `photographs`; `methods`: method -> `deletion` and `insertion`, each with interval, their differences to random
        maps, `faithful` (whether both differences are on the good side with their whole interval), `randomisation`
        (rank correlation to maps of shuffled weights, with interval) and `depends_on_weights` (whether its interval
        lies below 0.5); `references`: the same of random maps and edges; `agreement`: pair -> rank correlation.
    """
    weights = bootstrap_weights(patients, resamples, 0).astype(np.float64)

    def told(values: NDArray[np.float64]) -> dict[str, float | None]:
        known = ~np.isnan(values)
        return interval(divide(weights @ np.where(known, values, 0), weights @ known.astype(float)))

    def column(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows], dtype=np.float64)

    def of(name: str) -> dict[str, Any]:
        return {kind: told(column(f"{name}/{kind}")) for kind in ("deletion", "insertion")}

    found: dict[str, Any] = {"photographs": len(rows), "methods": {}, "agreement": {}}
    for method in methods:
        own = of(method)
        for kind in ("deletion", "insertion"):
            own[f"{kind}_difference"] = told(column(f"{method}/{kind}") - column(f"{RANDOM}/{kind}"))
        low, high = own["insertion_difference"]["low"], own["deletion_difference"]["high"]
        own["faithful"] = None if low is None or high is None else bool(low > 0 > high)
        own["randomisation"] = told(column(f"{method}/randomisation"))
        top = own["randomisation"]["high"]
        own["depends_on_weights"] = None if top is None else bool(top < _MOST_ALIKE)
        found["methods"][method] = own
    found["references"] = {name: of(name) for name in (RANDOM, EDGES)}
    pairs = [key.removesuffix("/agreement") for key in (rows[0] if rows else ()) if key.endswith("/agreement")]
    found["agreement"] = {pair: told(column(f"{pair}/agreement")) for pair in pairs}
    return found


def _plane(saliency: Any) -> NDArray[np.float32]:
    return np.asarray(saliency.detach().cpu() if isinstance(saliency, Tensor) else saliency, np.float32)


def _blur(image: Tensor) -> Tensor:
    """Return a photograph without detail, (3, S, S): blurred by a sixteenth of its side."""
    sigma = image.shape[-1] / 16
    size = min(2 * int(2 * sigma) + 1, 2 * ((image.shape[-1] - 1) // 2) - 1)
    return gaussian_blur(image[None], [size, size], [sigma, sigma])[0]
