"""The figures of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from retinai.explain.overlays import overlay
from retinai.reports.style import COLOURS, new_figure, save_figure

SHOWN = (
    "gradcam",
    "layercam",
    "layercam, blocks.4",
    "layercam, blocks.2",
    "occlusion",
    "ig",
    "kernelshap",
    "lime",
)
_GRADES = ("moderate", "severe", "proliferative")
_SIDE = 256


def draw_methods(table: pd.DataFrame, path: Path) -> None:
    """Draw excess with its interval for each method, trained and with shuffled weights, and by grade."""
    figure, (left, right) = new_figure(10.5, 4.8, 1, 2)
    every = table[(table["photographs of"] == "all") & (table["lesion"] == "any")]
    trained = every[every["network"] == "trained"].sort_values("excess")
    place = {method: number for number, method in enumerate(trained["method"])}
    for network, colour, shift in (
        ("trained", COLOURS[0], 0.12),
        ("shuffled weights", COLOURS[1], -0.12),
    ):
        rows = every[every["network"] == network]
        y = [place[method] + shift for method in rows["method"]]
        errors = [rows["excess"] - rows["low"], rows["high"] - rows["excess"]]
        left.errorbar(
            rows["excess"],
            y,
            xerr=errors,
            fmt="o",
            color=colour,
            label=network,
            markersize=4,
        )
    edges = float(every[every["method"] == "edges"]["excess"].iloc[0])
    left.axvline(
        edges,
        color=COLOURS[2],
        linestyle="--",
        linewidth=1,
        label="edges of the photograph",
    )
    left.axvline(1, color="#888888", linewidth=1)
    left.set_yticks(list(place.values()), list(place))
    left.set_xlabel("energy in lesions / in turned lesions")
    left.legend(fontsize=8)
    own = table[(table["network"] == "trained") & (table["lesion"] == "any")]
    for number, grade in enumerate(_GRADES):
        rows = own[own["photographs of"] == grade]
        count = int(rows["photographs"].max()) if len(rows) else 0
        y = [place[method] + 0.2 * (number - 1) for method in rows["method"]]
        errors = [rows["excess"] - rows["low"], rows["high"] - rows["excess"]]
        right.errorbar(rows["excess"], y, xerr=errors, fmt="o", color=COLOURS[number], markersize=4,
                       label=f"{grade} ({count})")  # fmt: skip
    right.axvline(1, color="#888888", linewidth=1)
    right.set_yticks(list(place.values()), [""] * len(place))
    right.set_xlabel("the same by grade")
    right.legend(fontsize=8)
    save_figure(figure, path)


def draw_examples(examples: list[dict[str, Any]], path: Path) -> None:
    """Draw one photograph of each grade with outlined lesions, and its maps."""
    strips = []
    for grade in (2, 3, 4):
        own = [one for one in examples if one["grade"] == grade and one["masks"]["any"].any()]
        own = [one for one in own if len(one["maps"]) == max(len(other["maps"]) for other in own)]
        if own:
            chosen = sorted(own, key=lambda one: one["masks"]["any"].sum())[len(own) // 2]
            strips.append(_strip(chosen))
    if strips:
        cv2.imwrite(
            str(path),
            cv2.cvtColor(np.concatenate(strips), cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, 88],
        )


def _strip(one: dict[str, Any]) -> np.ndarray:
    cells = [_outlined(one["photograph"], one)]
    shown = [method for method in SHOWN if method in one["maps"]]
    for method in shown:
        both = overlay(one["photograph"], one["maps"][method], one["inside"], method)
        side = both.shape[1] // 2
        cells.append(
            _outlined(
                cv2.resize(both[:side, side:], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA),
                one,
            )
        )
    for cell, title in zip(cells, (f"grade {one['grade']}", *shown), strict=True):
        cv2.putText(
            cell,
            title,
            (6, 16),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (255, 255, 255),
            lineType=cv2.LINE_AA,
        )
    half = -(-len(cells) // 2)
    rows = [
        cells[:half],
        cells[half:] + [np.zeros_like(cells[0])] * (2 * half - len(cells)),
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _outlined(picture: np.ndarray, one: dict[str, Any]) -> np.ndarray:
    shown = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).copy()
    mask = cv2.resize(
        one["masks"]["any"].astype(np.uint8),
        (_SIDE, _SIDE),
        interpolation=cv2.INTER_NEAREST,
    )
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outlines, -1, (90, 255, 120), 1)
    return shown
