"""`data=[A,B]`: several data sets as one, in words that Hydra composes."""

from __future__ import annotations

from collections.abc import Iterable

_GROUP = "data"
_JOINED = "several"


def spread_data(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with `data=[A,B]` as Hydra composes it.

    `data=several`, whose `sources` take each named option as a section of its own: `data.sources.A.KEY=` sets its
    keys, and the whole is named after its parts. Other words stay as they are.

    Args:
        words: Overrides and flags.
    """
    spread: list[str] = []
    for word in words:
        names = _several(word)
        if not names:
            spread.append(word)
            continue
        spread += [f"{_GROUP}={_JOINED}", *(f"+{_GROUP}@{_GROUP}.sources.{name}={name}" for name in names)]
        spread.append(f"{_GROUP}.name={'_'.join(names)}")
    return spread


def _several(word: str) -> list[str]:
    key, _, value = word.partition("=")
    if key != _GROUP or not (value.startswith("[") and value.endswith("]")):
        return []
    return list(dict.fromkeys(name.strip() for name in value[1:-1].split(",") if name.strip()))
