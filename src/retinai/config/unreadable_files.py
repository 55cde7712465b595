"""What is said of a file of the configuration, such as an experiment of one's own, that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retinai.config.paths import conf_dir, study_dirs


def what_is_unreadable(error: Exception, words: Sequence[str]) -> str | None:
    """Return which file cannot be read and why; None if the error tells of something else.

    Args:
        error: What Hydra, OmegaConf or YAML raised.
        words: The command line.
    """
    import yaml

    if isinstance(error, UnicodeDecodeError):
        return _in_another_encoding()
    if isinstance(error, RecursionError):
        return f"{_chosen(words)} names itself in its defaults, or nests brackets too deeply; mend it"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark is not None else _chosen(words)
        return f"{where}, is no YAML that can be read ({error.problem}); mend it"
    if isinstance(error, yaml.YAMLError):
        return f"{_chosen(words)} is no YAML that can be read ({str(error).splitlines()[0]}); mend it"
    if not str(error).strip():  # what OmegaConf says of a reference that it cannot parse
        why = str(error.__cause__).partition("\n")[0]
        return f"{_chosen(words)} holds a reference ${{...}} that cannot be read ({why}); mend it"
    return None


def _chosen(words: Sequence[str]) -> str:
    """Return the files of the experiments that were chosen."""
    names = [name for word in words if word.startswith("+experiment=") for name in word.partition("=")[2].split(",")]
    files = [study / "experiment" / f"{name}.yaml" for study in study_dirs() for name in names]
    return ", ".join(str(file) for file in files if file.is_file()) or "a file of the configuration"


def _in_another_encoding() -> str:
    """Return which files of the configuration are no UTF-8, which is all that Hydra reads."""
    files = [file for folder in (conf_dir(), *study_dirs()) for file in sorted(folder.rglob("*.yaml"))]
    found = [str(file) for file in files if not _is_utf8(file)]
    named = ", ".join(found) or "a file of --config-dir"
    return f"{named} is not written in UTF-8; save it in that encoding"


def _is_utf8(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True
