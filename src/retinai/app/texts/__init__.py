"""What the page says, a file per language."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("en", "es", "hi")


@dataclass(frozen=True)
class Texts:
    """The texts of one language.

    Args:
        code: Of the language, as in HTML's `lang`.
        content: What the file of the language holds.
    """

    code: str
    content: Mapping[str, Any]

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values filled in.

        Args:
            key: Its key, with a dot for one that stands inside of another: `why.grade`.
            values: For the names in braces.
        """
        found: Any = self.content
        for part in key.split("."):
            found = found[part]
        return str(found).format(**values) if values else str(found)

    def lines(self, key: str, **values: Any) -> list[str]:
        """Return a list of texts with their values filled in."""
        return [str(line).format(**values) for line in self.content[key]]

    def class_name(self, name: str) -> str:
        """Return what a class is called; a class that the file does not know keeps its name."""
        return str(self.content["classes"].get(name, name))

    def mask_name(self, name: str) -> str:
        """Return what a mask is called; one that the file does not know keeps its name."""
        return str(self.content["masks"].get(name, name.replace("_", " ")))

    def meaning(self, name: str) -> str:
        """Return what a class means; empty for one that the file does not know."""
        return str(self.content["meaning"].get(name, ""))


@functools.cache
def load_texts(code: str) -> Texts:
    """Return the texts of a language, one of `LANGUAGES`."""
    return Texts(code, yaml.safe_load((Path(__file__).parent / f"{code}.yaml").read_text(encoding="utf-8")))


def choose_language(accepted: str, default: str) -> str:
    """Return the language of `LANGUAGES` that a browser prefers.

    Args:
        accepted: The header `Accept-Language`, such as `es-MX,es;q=0.9,en;q=0.8`.
        default: Where it names none of them.
    """
    wanted: list[tuple[float, str]] = []
    for part in accepted.split(","):
        tag, _, quality = part.strip().partition(";q=")
        code = tag.partition("-")[0].lower()
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        if code in LANGUAGES and weight > 0:
            wanted.append((-weight, code))
    return min(wanted, key=lambda item: item[0])[1] if wanted else default
