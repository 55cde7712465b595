"""What is known of published weights: where they are, their licence, what they were trained on.

One YAML file per backbone in `weight_files/`; a backbone without one is read from the hub as timm knows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from retinai.config.record_schemas import Name, Record, Sha256, check_record
from retinai.encoders.encoder_file import read_provenance

FILES_OF_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".gguf", ".zip")
_FOLDER = Path(__file__).parent / "weight_files"


class WeightFile(Record):
    """Weights that somebody publishes.

    Attributes:
        backbone: Name of the backbone (`conf/backbone`).
        title: What people call them.
        repository: Repository of the Hugging Face hub; None where they are elsewhere.
        file: Name of the file in it, or of the download.
        address: Page or file outside of the hub.
        package: The pip package that holds them.
        gated: Whether the owner has to grant access.
        megabytes: Size of the file.
        sha256: Of the file, where it is known.
        licence: Its name.
        forbids: What it forbids, in a clause; None where it is free to use.
        pretrained_on: Data sets of the pre-training, in words.
        seen: Names of those data sets of retinai (`data=`) that were in the pre-training.
        layout: How the file is laid out where it must not be taken for another: `mae`, or `teacher` (DINOv2's
            training checkpoint).
    """

    backbone: Name
    title: Name
    repository: Name | None = None
    file: Name | None = None
    address: Name | None = None
    package: Name | None = None
    gated: bool = False
    megabytes: int | None = Field(default=None, ge=1)
    sha256: Sha256 | None = None
    licence: Name
    forbids: Name | None = None
    pretrained_on: list[Name] = Field(min_length=1)
    seen: list[Name] = Field(default_factory=list)
    layout: Literal["mae", "teacher"] | None = None

    def notes(self, data: str | None = None) -> list[str]:
        """Return what a user must know: what the licence forbids, and that a data set was in the pre-training.

        Args:
            data: Name of the data set that is used; None for none.
        """
        found = []
        if self.forbids:
            found.append(f"{self.title} is under {self.licence}, which forbids {self.forbids}")
        if data in self.seen:
            found.append(
                f"data={data} was in the pre-training of {self.title}: what is measured on it is no measure of new "
                "photographs"
            )
        return found


@cache
def weight_files() -> dict[str, WeightFile]:
    """Return what is known, by backbone."""
    files = [check_record(WeightFile, yaml.safe_load(file.read_text(encoding="utf-8"))) for file in _files()]
    return {file.backbone: file for file in files}


def weight_file(backbone: str, weights: str) -> WeightFile | None:
    """Return what is known of the weights of a backbone; None where nothing is, or none are loaded.

    Args:
        backbone: Its name.
        weights: `backbone.weights`; `none` loads nothing.
    """
    return None if weights == "none" else weight_files().get(backbone)


def weight_notes(section: Mapping[str, Any], data: str | None = None) -> list[str]:
    """Return what a user must know of the weights of a `backbone` section, see `WeightFile.notes`.

    Args:
        section: With `name` and `weights`.
        data: Name of the data set that is used.
    """
    weights = str(section.get("weights", "none"))
    own = read_provenance(weights)
    if own is not None:
        return own.notes(weights, data)
    known = weight_file(str(section.get("name")), weights)
    return [] if known is None else known.notes(data)


def seen_before(section: Mapping[str, Any]) -> list[str]:
    """Return the names of the data sets (`data=`) that were in the pre-training of the weights of a section."""
    weights = str(section.get("weights", "none"))
    own = read_provenance(weights)
    if own is not None:
        return sorted({*own.photographs, *own.seen})
    known = weight_file(str(section.get("name")), weights)
    return [] if known is None else list(known.seen)


def weight_facts(section: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an exported model tells of the weights that it began from; None where nothing is known."""
    known = weight_file(str(section.get("name")), str(section.get("weights", "none")))
    told = {"title", "licence", "forbids", "pretrained_on", "address", "package", "repository"}
    return None if known is None else known.model_dump(include=told)


def is_hub_name(weights: str) -> bool:
    """Return whether a value names a repository of the hub, OWNER/NAME, and nothing that lies on this machine."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", weights) is not None and not (
        weights.endswith(FILES_OF_WEIGHTS) or Path(weights).exists()
    )


def _files() -> list[Path]:
    return sorted(_FOLDER.glob("*.yaml"))
