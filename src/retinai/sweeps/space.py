"""The search space of a study, from words in the syntax of Hydra's published Optuna sweeper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution


def read_space(words: Sequence[str]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Return what is searched, by key, and the words that stay as they are.

    `a=x,y` and `a=choice(x,y)` choose one of several values; `a=range(1,8)` is a whole number (or with a step such as
    `range(0.1,0.9,step=0.1)` one of a row) with both ends; `a=interval(0,1)` is a number; `tag(log, interval(1e-5,
    1e-3))` is drawn by its logarithm, and `tag(int, interval(1,100))` is whole.

    Raises:
        UserError: If nothing is searched, or a range makes no sense.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    space: dict[str, BaseDistribution] = {}
    fixed: list[str] = []
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        if not override.is_sweep_override():
            fixed.append(word)
            continue
        try:
            space[override.get_key_element()] = _distribution(override)
        except ValueError as error:
            raise UserError(f"{word} is no space to search in: {error}") from error
    if not space:
        raise UserError(
            "nothing is searched: give at least one key several values, such as optimizer.lr=interval(1e-4,1e-2)"
        )
    return space, fixed


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if override.is_choice_sweep():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    log = "log" in value.tags
    if override.is_range_sweep():
        if all(isinstance(part, int) for part in (value.start, value.stop, value.step)):
            return IntDistribution(value.start, value.stop, log=log, step=1 if log else value.step)
        return FloatDistribution(float(value.start), float(value.stop), step=float(value.step))
    if "int" in value.tags:
        return IntDistribution(int(value.start), int(value.end), log=log)
    return FloatDistribution(float(value.start), float(value.end), log=log)


def words_of(params: Mapping[str, Any]) -> list[str]:
    """Return the words that set what a trial drew."""
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in params.items()]


def as_texts(space: Mapping[str, BaseDistribution]) -> dict[str, str]:
    """Return a space as the record of a sweep keeps it."""
    from optuna.distributions import distribution_to_json

    return {key: distribution_to_json(distribution) for key, distribution in space.items()}
