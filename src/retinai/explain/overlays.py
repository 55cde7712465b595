"""Maps as pictures: over the photograph with the field of view and a scale, as means, and as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from retinai.explain.regions import enlarge
from retinai.reports.style import FAINT, new_figure

_COLOURS = (matplotlib.colormaps["inferno"](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
_STRENGTH = 0.65
_LEAST_SIDE = 320
MEAN_SIDE = 64


def overlay(
    photograph: NDArray[np.uint8], saliency: NDArray[Any], inside: NDArray[np.bool_], title: str
) -> NDArray[np.uint8]:
    """Return photograph and map side by side, RGB: the map scaled by its own maximum, which is written below.

    Args:
        photograph: Prepared, uint8 (S, S, 3).
        saliency: The map, (h, w); negative evidence is not shown.
        inside: Field of view, bool (S, S); its outline is drawn.
        title: What the map is of.
    """
    side = max(photograph.shape[0], _LEAST_SIDE)
    picture = cv2.resize(photograph, (side, side), interpolation=cv2.INTER_LINEAR)
    heat = enlarge(np.maximum(np.asarray(saliency, np.float32), 0), side)
    peak = float(heat.max())
    shown = heat / peak if peak > 0 else heat
    colours = _COLOURS[(255 * shown).astype(np.uint8)]
    strength = (_STRENGTH * np.sqrt(shown))[:, :, None]
    mixed = (picture * (1 - strength) + colours * strength).astype(np.uint8)
    mask = cv2.resize(inside.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mixed, outlines, -1, (255, 255, 255), 1)
    both = np.concatenate([picture, mixed], axis=1)
    return np.concatenate([both, _legend(2 * side, title, peak, saliency.shape)], axis=0)


def _legend(width: int, title: str, peak: float, cells: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a strip with the title, the colours of the scale from 0 to the map's maximum, and the map's cells."""
    strip = np.full((44, width, 3), 255, np.uint8)
    bar = np.repeat(_COLOURS[None], 12, axis=0)
    left = width - 256 - 70
    strip[6:18, left : left + 256] = bar
    plain = title.encode("ascii", "replace").decode()
    _write(strip, plain[: max(10, (left - 10) // 8)], 8, 16)
    _write(strip, f"{cells[0]} x {cells[1]} cells", 8, 36)
    _write(strip, "0", left - 2, 34)
    _write(strip, f"{peak:.3g}", left + 222, 34)
    return strip


def _write(strip: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(strip, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), lineType=cv2.LINE_AA)


class MeanMaps:
    """The mean map of each group of photographs, left eyes mirrored so that the disc is on one side."""

    def __init__(self) -> None:
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, int] = {}

    def add(self, group: str, saliency: NDArray[Any], left_eye: bool) -> None:
        """Add a map, (h, w); each counts alike, and one that is zero everywhere not at all."""
        heat = enlarge(np.maximum(np.asarray(saliency, np.float32), 0), MEAN_SIDE).astype(np.float64)
        if not heat.sum() > 0:
            return
        share = heat / heat.sum()
        self.sums[group] = self.sums.get(group, 0) + (share[:, ::-1] if left_eye else share)
        self.counts[group] = self.counts.get(group, 0) + 1

    def figure(self, groups: Sequence[str], names: Mapping[str, str]) -> Figure | None:
        """Draw the means in the order of groups, on one scale; None where there is none."""
        shown = [group for group in groups if group in self.sums]
        if not shown:
            return None
        means = [self.sums[group] / self.counts[group] * MEAN_SIDE**2 for group in shown]
        figure, cells = new_figure(2.3 * len(shown), 2.7, 1, len(shown))
        top = max(float(mean.max()) for mean in means)
        for axes, group, mean in zip(cells, shown, means, strict=True):
            axes.set_axis_off()
            image = axes.imshow(mean, cmap="inferno", vmin=0, vmax=top)
            axes.set_title(f"{names.get(group, group)} ({self.counts[group]})", fontsize=9)
        bar = figure.colorbar(image, ax=cells, shrink=0.8)
        bar.ax.tick_params(labelsize=8, colors=FAINT)
        bar.set_label("times the mean of the map", fontsize=8)
        return figure


def sheet(pictures: Sequence[tuple[str, NDArray[np.uint8]]], columns: int = 4) -> Figure | None:
    """Draw overlays with their captions as a contact sheet; None without pictures."""
    if not pictures:
        return None
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, cells = new_figure(2.9 * columns, 2.0 * rows, rows, columns)
    for axes in cells:
        axes.set_axis_off()
    for axes, (caption, picture) in zip(cells, pictures, strict=False):
        axes.imshow(picture)
        axes.set_title(caption, fontsize=8, loc="left")
    return figure
