"""Augmentation: an albumentations pipeline from a list, the same for the same (seed, epoch, sample)."""

from __future__ import annotations

import difflib
import inspect
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer version

import albumentations as A  # noqa: N812
import cv2

from retinai.config.build import hint
from retinai.data.photographs.preprocessing import GREY
from retinai.errors import ConfigError

# Some transforms fill the first channel alone when `fill` is one number; these take no other form.
_ONE_NUMBER = ("ChannelDropout", "MaskDropout")
_OWN_PIXELS = ("Normalize", "ToFloat", "FromFloat", "ToTensorV2", "ToTensor3D")


class Augmentation:
    """A pipeline whose randomness is a function of the numbers that it is called with.

    Each transform draws from a stream of its own, so that how much one of them draws (noise: a number per
    pixel) does not change what the next one does: a photograph prepared at two sizes is varied in the same way.

    Args:
        transforms: albumentations transforms, in order, for each value that can lie outside the field of view
            (`Preprocessing.outside`): what they uncover or cover is filled with it.
    """

    def __init__(self, transforms: Mapping[int, Sequence[A.BasicTransform]]) -> None:
        self.pipelines = {outside: A.Compose(list(t), is_check_shapes=False) for outside, t in transforms.items()}

    def __call__(
        self,
        image: np.ndarray,
        masks: Sequence[np.ndarray] | None = None,
        *,
        seed: Sequence[int],
        outside: int = 0,
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Augment a photograph and its masks in the same way.

        Args:
            image: uint8, shape (S, S, 3).
            masks: uint8 masks, each of shape (S, S).
            seed: Non-negative numbers that name this call, such as (seed, epoch, index, repeat).
            outside: What lies outside the field of view of this photograph: `Preprocessing.outside`.

        Returns:
            The photograph and the masks, shapes and types as given.
        """
        pipeline = self.pipelines[outside]
        # Compose.set_random_seed would give each transform a generator of the same seed, and so, for
        # instance, flip always both ways or not at all.
        streams = [pipeline, *pipeline.transforms]
        states = np.random.SeedSequence(seed).generate_state(2 * len(streams), np.uint64).tolist()
        for stream, numbers, words in zip(streams, states[::2], states[1::2], strict=True):
            stream.set_random_state(np.random.Generator(np.random.PCG64(numbers)), random.Random(words))
        if masks is None or not len(masks):
            return pipeline(image=image)["image"], []
        out = pipeline(image=image, masks=list(masks))
        return out["image"], list(out["masks"])


def build_augmentation(spec: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> Augmentation | None:
    """Build the pipeline of an `augment` node.

    Args:
        spec: A list of `{name, params}`, or a mapping with such a list as `transforms`; `name` is a
            class of albumentations and `params` its arguments. Transforms that uncover or cover something fill
            it with what lies outside the field of view, unless `params` says `fill`; masks are filled with 0.

    Returns:
        The pipeline, or None when there is nothing to do.

    Raises:
        ConfigError: If transforms, arguments or values are not allowed; tells all of them at once.
    """
    if spec is None:
        return None
    if isinstance(spec, Mapping):
        unknown = sorted(set(spec) - {"name", "transforms"})
        if unknown:
            raise ConfigError([f"augment does not know {hint(k, ('name', 'transforms'))}" for k in unknown])
        spec = spec.get("transforms") or []
    problems: list[str] = []
    transforms = {
        outside: [_build_one(number, entry, outside, problems) for number, entry in enumerate(spec)]
        for outside in (0, GREY)
    }
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Augmentation({k: [t for t in v if t is not None] for k, v in transforms.items()}) if spec else None


def _build_one(number: int, entry: Mapping[str, Any], outside: int, problems: list[str]) -> A.BasicTransform | None:
    where = f"augment.transforms[{number}]"
    if not isinstance(entry, Mapping) or "name" not in entry or set(entry) - {"name", "params"}:
        problems.append(f"{where} must be {{name: ..., params: {{...}}}}, got {entry!r}")
        return None
    name = str(entry["name"])
    transform = getattr(A, name, None)
    if not (inspect.isclass(transform) and issubclass(transform, A.BasicTransform)) or name in _OWN_PIXELS:
        close = difflib.get_close_matches(name, _transform_names(), n=3)
        nearest = f"; did you mean {' or '.join(close)}?" if close else ""
        problems.append(f"{where}: albumentations has no transform of photographs called {name!r}{nearest}")
        return None
    params = {k: _plain(v) for k, v in dict(entry.get("params") or {}).items()}
    known = [p for p in inspect.signature(transform).parameters if p != "self"]
    unknown = [k for k in params if k not in known]
    problems += [f"{where}: {name} does not know {hint(k, known)}" for k in unknown]
    if unknown:
        return None
    if "fill" in known:
        params = {"fill": outside if name in _ONE_NUMBER else (outside,) * 3} | params
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations warns where it drops a value
            return transform(**params)
    except (ValueError, TypeError, UserWarning) as error:
        reason = " ".join(str(error).split())
        problems.append(f"{where}: {name} refuses {params}: {reason}")
        return None


def _plain(value: Any) -> Any:
    """Return lists (as YAML gives ranges) as tuples, and OpenCV constants by their names."""
    if isinstance(value, str) and value.startswith(("INTER_", "BORDER_")):
        return getattr(cv2, value, value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(v) for v in value)
    return value


def _transform_names() -> list[str]:
    return [
        n for n, t in vars(A).items() if inspect.isclass(t) and issubclass(t, A.ImageOnlyTransform | A.DualTransform)
    ]
