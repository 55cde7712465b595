"""What is wrong with the values of a section, in sentences that name the key and what is valid."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt, MultipleOf
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from retinai.config.build import hint
from retinai.config.sections.base import Section


def problems(model: type[Section], values: Mapping[str, Any], where: str = "") -> list[str]:
    """Return one sentence for each value that a section's model does not allow.

    Args:
        model: The section's model.
        values: The composed section, plain.
        where: The section's name as it stands before its keys; empty for keys outside of sections.
    """
    values = {key: value for key, value in values.items() if key != "_target_"}
    faults: Sequence[Any] = ()
    try:
        model.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    bad = {fault["loc"][0] for fault in faults}
    told = [_sentence(model, values, where, fault) for fault in faults]
    told += model.contradictions({key: value for key, value in values.items() if key not in bad})
    return list(dict.fromkeys(told))


def texts(model: type[Section], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that were given as whole numbers where a text or a path is meant, as text.

    Args:
        model: The section's model; `values` fit it.
        values: The composed section, plain.
    """
    read = model.model_validate({key: value for key, value in values.items() if key != "_target_"})
    fields = {key: getattr(read, key) for key in type(read).model_fields if key in values}
    return {k: v for k, v in fields.items() if isinstance(v, str) and isinstance(values[k], int)}


def describe(field: FieldInfo) -> str:
    """Return in words what a field allows, such as `auto, or a whole number from 1`."""
    if field.description:
        return field.description
    return _words(field.annotation, field.metadata)


def _sentence(model: type[Section], values: Mapping[str, Any], where: str, fault: Mapping[str, Any]) -> str:
    owner, names, field = _locate(model, fault["loc"])
    prefix = ".".join([*([where] if where else []), *names])
    if fault["type"] == "extra_forbidden" and field is None:
        parent = ".".join([*([where] if where else []), *names[:-1]]) or "the configuration"
        instead = owner.instead.get(names[-1])
        return f"{prefix}: {instead}" if instead else f"{parent} does not know {hint(names[-1], owner.model_fields)}"
    if field is None:
        return f"{prefix} must be a section of keys and values"
    rest = fault["loc"][len(names) :]
    if get_origin(field.annotation) is dict and rest:  # one of the keys that a section may name as it likes
        value = _value(values, [*names, str(rest[0])])
        valid = _words(get_args(field.annotation)[1])
        return f"{prefix}.{rest[0]}={_shown(value)} is not allowed (valid: {valid})"
    value = _value(values, names)
    close = difflib.get_close_matches(value, choices_of(field.annotation), n=1) if isinstance(value, str) else []
    listed = f"[{close[0]}]" if close and close[0] == value else "".join(close)  # the right word, but not as a list
    nearest = f", did you mean {listed}?" if close else ""
    reason = owner.reasons.get(f"{names[-1]}={value}")
    why = f"; {reason}" if reason else ""
    return f"{prefix}={_shown(value)} is not allowed{nearest} (valid: {describe(field)}){why}"


def _locate(model: type[Section], place: Sequence[Any]) -> tuple[type[Section], list[str], FieldInfo | None]:
    """Return the model that owns the faulty key, the key's parts, and its field."""
    names: list[str] = []
    field: FieldInfo | None = None
    owner = model
    for part in place:
        inner = {} if field is None else {m.__name__: m for m in sections_in(field.annotation)}
        if part in inner:  # pydantic names the member of a union
            owner = inner[part]
        elif field is None or inner:
            owner = owner if field is None or len(inner) != 1 else next(iter(inner.values()))
            names.append(str(part))
            field = owner.model_fields.get(str(part))
        else:
            break
    return owner, names, field


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """Yield the models that an annotation names, such as that of `preprocess` in the `data` section."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for member in get_args(annotation):
            yield from sections_in(member)


def _value(values: Any, names: Sequence[str]) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def choices_of(annotation: Any) -> list[str]:
    """Return the words that an annotation lists."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    if get_origin(annotation) in (Union, UnionType, Annotated, list):
        return [word for member in get_args(annotation) for word in choices_of(member)]
    return []


def _words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        infos = [m for m in members[1:] if isinstance(m, FieldInfo)]
        told = [info.description for info in infos if info.description]
        return told[-1] if told else _words(members[0], [*(m for info in infos for m in info.metadata), *metadata])
    if origin in (Union, UnionType):
        return ", or ".join(_words(member, metadata) for member in members)
    if origin is Literal:
        return ", ".join(_shown(word) for word in members)
    if origin is list:
        return f"a list of {_words(members[0])}" if members else "a list"
    kinds = {int: "a whole number", float: "a number"}
    if annotation in kinds:
        return kinds[annotation] + _range(metadata)
    plain = {bool: "true, false", NoneType: "null", str: "a text"}
    return plain.get(annotation, "a section of keys and values")


def _range(metadata: Sequence[Any]) -> str:
    bounds = [m for m in metadata if isinstance(m, BaseMetadata)]
    low = next((f" from {m.ge}" for m in bounds if isinstance(m, Ge)), "")
    low = low or next((f" above {m.gt}" for m in bounds if isinstance(m, Gt)), "")
    high = next((f" to {m.le}" for m in bounds if isinstance(m, Le) and m.le != 10**9), "")
    step = next((f", a multiple of {m.multiple_of}" for m in bounds if isinstance(m, MultipleOf)), "")
    high = high or next((f" below {m.lt}" for m in bounds if isinstance(m, Lt)), "")
    up_to = low.startswith(" above") and high.startswith(" to")
    return low + (f" up to{high.removeprefix(' to')}" if up_to else high) + step
