"""Build an object from a plain mapping: `_target_` names the class, the other keys are its arguments."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from retinai.errors import ConfigError, missing_extra

TARGET = "_target_"
# Environment variable: modules, with commas between, whose classes checkpoints may name.
PLUGINS = "RETINAI_PLUGINS"
T = TypeVar("T")


def build(spec: Mapping[str, Any], expected: type[T], /, trusted: bool = False, **extra: Any) -> T:
    """Make an object of the class that `spec` names from the rest of `spec` and `extra`.

    Checkpoints carry such mappings, so nothing but classes of the expected kind are called, and by default only
    those of the retinai package and of modules that are imported already (a checkpoint cannot import anything); a
    configuration that the user composed may bring classes of its own (`trusted=True`).

    Args:
        spec: Mapping with `_target_` (a dotted path) and arguments. `extra` wins over it.
        expected: The class that the target has to be, or to be derived from; checked before anything is called.
        trusted: Allow targets of modules that are not imported yet.
        **extra: More keyword arguments.

    Returns:
        The object.

    Raises:
        ConfigError: If the target is missing, not allowed or of another kind, or an argument does not fit its
            signature; names every unknown key with the valid ones.
    """
    target = check_kind(spec, expected, trusted)
    arguments = {key: value for key, value in spec.items() if key != TARGET} | extra
    problems = binding_problems(target, arguments, str(spec[TARGET]))
    if problems:
        raise ConfigError(problems)
    return target(**arguments)


def settings_from(section: Mapping[str, Any], default: type[T], expected: type[T] | None = None) -> T:
    """Build a settings object from its section.

    Args:
        section: With `_target_`, or without: it is of the default type then.
        default: Of this type.
        expected: What `_target_` has to name, or to be derived from; None: the default type.

    Raises:
        ConfigError: If the section is none or names something else, or an argument does not fit.
    """
    if not isinstance(section, Mapping):
        raise ConfigError([f"{section!r} stands in the place of a section with the keys of {default.__name__}"])
    return build({TARGET: f"{default.__module__}.{default.__name__}", **section}, expected or default)


def import_plugins() -> None:
    """Import the modules that the environment variable RETINAI_PLUGINS names, so that checkpoints may name theirs.

    Raises:
        ConfigError: If one cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(PLUGINS, "").split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError([f"{PLUGINS} names {name!r}, which cannot be imported: {error}"]) from error


def check_kind(spec: Mapping[str, Any], expected: type[T], trusted: bool = False) -> type[T]:
    """Return the class that `spec["_target_"]` names, once it is known to be of the expected kind; nothing is called.

    Args:
        spec: Mapping with `_target_`.
        expected: The class that the target has to be, or to be derived from.
        trusted: Allow targets of modules that are not imported yet.

    Raises:
        ConfigError: If there is no such thing, it is not allowed, or it is of another kind.
        MissingExtraError: If it needs an optional package that is not installed.
    """
    target = resolve_target(spec, trusted)
    if not (isinstance(target, type) and issubclass(target, expected)):
        raise ConfigError([f"_target_ {spec[TARGET]!r} is no {expected.__name__}, so it is not called here"])
    return target


def check_own_kind(section: Mapping[str, Any], expected: type) -> None:
    """Refuse a section that names another kind of thing than it is read as; one that names nothing may be anything.

    Args:
        section: With or without `_target_`, of a checkpoint perhaps.
        expected: What it is read as.

    Raises:
        ConfigError: If it names something else.
    """
    if TARGET in section:
        check_kind(section, expected)


def resolve_target(spec: Mapping[str, Any], trusted: bool = False) -> Callable[..., Any]:
    """Return the class or function that `spec["_target_"]` names.

    Raises:
        ConfigError: If there is no such thing, or it is outside the retinai package, not imported and not trusted.
        MissingExtraError: If it needs an optional package that is not installed.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError([f"{spec!r} stands in the place of a section with a {TARGET}"])
    path = str(spec.get(TARGET, ""))
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        which = f"the section named {spec['name']!r}" if isinstance(spec.get("name"), str) else "a section"
        keys = ", ".join(str(key) for key in spec if key != TARGET)[:80]
        raise ConfigError([f"{which} (keys: {keys}) has no usable _target_ (got {path!r}); it names what to build"])
    if not trusted and module_name.split(".")[0] != "retinai" and module_name not in sys.modules:
        raise ConfigError(
            [
                f"_target_ {path!r} is outside retinai and is not called from a checkpoint; if you trust the module, "
                f"have it imported: {PLUGINS}={module_name}"
            ]
        )
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        missing = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        raise missing or ConfigError([f"_target_ {path!r} cannot be imported: {error}"]) from error
    except AttributeError as error:
        raise ConfigError([f"_target_ {path!r}: module {module_name} has no {name!r}"]) from error
    if not trusted and getattr(found, "__module__", None) != module_name:
        # `retinai.x.os.system` and re-exported outsiders end here.
        raise ConfigError([f"_target_ {path!r} is not defined there and is not called from a checkpoint"])
    return found


def binding_problems(target: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> list[str]:
    """Return one sentence for each argument that `target` does not take or still needs."""
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = [
        name
        for name, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    problems = []
    if not open_ended:
        problems += [f"{where} does not know {hint(key, named)}" for key in arguments if key not in named]
    missing = [n for n in named if parameters[n].default is inspect.Parameter.empty and n not in arguments]
    problems += [f"{where} needs {name!r}" for name in missing]
    return problems


def show_base_options(cls: type[Any]) -> None:
    """Give a class whose constructor takes `**options` for its base the signature of both, so that keys bind.

    Args:
        cls: A class; without `**options` it is left as it is.
    """
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls.__init__).parameters.values()):
        _show(cls, inspect.signature(cls.__mro__[1]))


def show_options(settings: type) -> Callable[[type[T]], type[T]]:
    """Return a decorator of a class whose constructor takes the keys of a settings dataclass as `**settings`.

    Args:
        settings: The dataclass; its keys then show in the class's signature, so that they can be checked.
    """

    def show(cls: type[T]) -> type[T]:
        _show(cls, inspect.signature(settings))
        return cls

    return show


def _show(cls: type[Any], options: inspect.Signature) -> None:
    """Let `inspect.signature(cls)` name its own arguments and, in the place of `**options`, those of `options`."""
    arguments = list(inspect.signature(cls.__init__).parameters.values())[1:]  # a class inherits its base's signature
    own = {p.name: p for p in arguments if p.kind is not p.VAR_KEYWORD}
    both = [*own.values(), *(p for name, p in options.parameters.items() if name not in own)]
    signature = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in both])
    cls.__signature__ = signature  # what `inspect` looks for, see PEP 362


def hint(key: str, valid: Iterable[str]) -> str:
    """Return `'key'` with the nearest valid name and the list of valid ones, for an error sentence."""
    names = sorted(valid)
    close = difflib.get_close_matches(key, names, n=1)
    nearest = f", did you mean {close[0]!r}?" if close else ""
    return f"{key!r}{nearest} (valid: {', '.join(names)})"
