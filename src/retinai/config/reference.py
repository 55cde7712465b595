"""The tables of `docs/configuration.md`, written from `conf/` and from the declarations in `config.sections`.

`python -m retinai.config.reference` (in a checkout: `make docs`) writes them between the page's marks. Options and
default values are those of the YAML files, what is allowed is what the declarations say, and the meaning is the
comment beside the key. What a group chooses is the comment beside it in the defaults list of `conf/train.yaml`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from retinai.config.choices import leaves, load_option, merge, phase_defaults, shown, words_of
from retinai.config.model_sections import is_reference, takers
from retinai.config.paths import conf_dir, group_options, groups_of
from retinai.config.sections import COMMANDS, Section, find
from retinai.config.sections.sentences import describe, sections_in
from retinai.errors import UserError
from retinai.files import write_text

PAGE = Path("docs/configuration.md")
_LINE = re.compile(r"^(?P<indent>\s*)(?:- )?(?P<key>\+?\w+):(?P<rest>.*)$")
_COMMENT = re.compile(r"(?:^|\s)# (?P<text>.*)$")
_LONGEST_VALUE = 48


@dataclass(frozen=True)
class _Option:
    """One option of a group: its label, values and comments by key, all keys that its file has, and declaration."""

    label: str
    content: dict[str, Any]
    given: frozenset[str]
    model: type[Section] | None
    comments: dict[str, str]


def tables() -> dict[str, str]:
    """Return the text of each marked part of the page, by the name of its mark."""
    return {"groups": _groups(), "keys": _keys()}


def with_tables(page: str, written: Mapping[str, str]) -> str:
    """Return a page whose marked parts are written anew; the rest stays as it is.

    Args:
        page: Text with `<!-- NAME: written by make docs -->` ... `<!-- end of NAME -->` for each table.
        written: The tables by name, as `tables` returns them.

    Raises:
        UserError: If a mark is missing.
    """
    for name, text in written.items():
        begin, end = f"<!-- {name}: written by make docs -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise UserError(f"{PAGE} lacks the mark {(end if found else begin).strip()}; put it back")
        page = f"{before}{begin}{text}{end}{after}"
    return page


def _groups() -> str:
    defaults = groups_of("train")
    chosen = _comments((conf_dir() / "train.yaml").read_text(encoding="utf-8"))
    rows = ["| group | chooses | options (the default in bold) |", "|---|---|---|"]
    for group, options in _options("train").items():
        shown = ", ".join(f"**`{o}`**" if o == defaults.get(group) else f"`{o}`" for o in options)
        name = group if group in defaults else f"+{group}"
        if name not in chosen:
            raise UserError(f"conf/train.yaml does not say what {name} chooses; add a comment beside it")
        rows.append(f"| `{name}` | {chosen[name]} | {shown} |")
    rows.append(f"| `+experiment` | {chosen['+experiment']} | `retinai train --help` lists them |")
    return "\n".join(rows) + "\n"


def _options(command: str) -> dict[str, list[str]]:
    """Return the groups and options that come with retinai; experiments depend on the folder one is in."""
    return {group: options for group, options in group_options(command).items() if group != "experiment"}


def _keys() -> str:
    parts = []
    for group, options in _options("train").items():
        read = [option for name in options for option in _read(group, name)]
        rows = [*_rows(f"{group}.", read)]
        if rows:
            parts += [f"### {group}\n", _table(rows)]
        if group == "model":
            parts.append(_taken(options))
        wide = [f"| `{group}={name}` | {text} |" for name in options if (text := _of_other_sections(group, name))]
        if group == "phase":
            wide += _phase_defaults()
        if wide:
            title = "" if rows else f"### {group}\n\n"
            parts.append("\n".join([f"{title}| option | brings |", "|---|---|", *wide, ""]))
    for command, model in COMMANDS.items():
        text = (conf_dir() / f"{command}.yaml").read_text(encoding="utf-8")
        content = {k: v for k, v in yaml.safe_load(text).items() if k in model.model_fields}
        # Common to all commands or set by a group's option.
        elsewhere = {"debug", *_options(command)}
        rows = [*_rows("", [_Option(command, content, frozenset(content) | elsewhere, model, _comments(text))])]
        parts += [f"### retinai {command}\n", _table(rows)]
    return "\n".join(parts)


def _taken(models: Iterable[str]) -> str:
    """Return the table of the sections that each model takes."""
    by_model = {model: [name for name, models in takers().items() if model in models] for model in models}
    rows = [f"| `model={model}` | {', '.join(f'`{name}`' for name in names)} |" for model, names in by_model.items()]
    return "\n".join(["| option | takes the sections |", "|---|---|", *rows, ""])


def _phase_defaults() -> list[str]:
    """Return the rows of what a phase means for one model or backbone (`conf/phase_defaults`)."""
    rows, models = [], _options("train")["model"]
    for name, phase in phase_defaults():
        told = ", ".join(f"`{word}`" for word in words_of("phase_defaults", f"{name}_{phase}"))
        rows.append(f"| `phase={phase} {'model' if name in models else 'backbone'}={name}` | {told} as well |")
    return rows


def _table(rows: Iterable[str]) -> str:
    return "\n".join(["| key | default | allowed | meaning |", "|---|---|---|---|", *rows, ""])


def _read(group: str, name: str) -> Iterator[_Option]:
    """Yield an option; several where the rest of its section depends on the model (`tuning=lora`)."""
    content, several = load_option(group, name)
    comments = _option_comments(group, name)
    if several:
        content, comments = content.get(group, {}), _below(group, comments)
    if not isinstance(content, dict):
        return
    for path in sorted((conf_dir() / group / name).glob("*.yaml")):
        more, _ = load_option(f"{group}/{name}", path.stem)
        both = merge(more, content)
        known = {**_option_comments(f"{group}/{name}", path.stem), **comments}
        yield _Option(f"{name} of {path.stem}", _own(both), frozenset(both), find("train", group, both), known)
    if not (conf_dir() / group / name).is_dir():
        yield _Option(name, _own(content), frozenset(content), find("train", group, content), comments)


def _own(content: Mapping[str, Any]) -> dict[str, Any]:
    keys = {k: v for k, v in leaves(content) if k.split(".")[-1] not in ("_target_", "name")}
    return {k: v for k, v in keys.items() if not is_reference(v)}  # told as what a model takes


def _option_comments(group: str, name: str) -> dict[str, str]:
    """Return the comments of an option's file over those of the files that it is based on."""
    path = conf_dir() / group / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    bases = [entry for entry in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(entry, str)]
    below = [_option_comments(group, base) for base in bases if (path.parent / f"{base}.yaml").is_file()]
    return {key: text for comments in [*below, _comments(text)] for key, text in comments.items()}


def _comments(text: str) -> dict[str, str]:
    """Return key -> comment on the same line, with dots for keys inside of keys; entries of `defaults` by name."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line.replace("# +", "+", 1) if line.lstrip().startswith("# +") else line)
        if match is None:
            continue
        indent = len(match["indent"])
        above = [(width, key) for width, key in above if width < indent and key != "defaults"]
        name = ".".join([*(key for _, key in above), match["key"]])
        above.append((indent, match["key"]))
        comment = _COMMENT.search(match["rest"])
        if comment:
            found[name] = comment["text"].strip()
    return found


def _below(group: str, keys: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(f"{group}."): text for key, text in keys.items() if key.startswith(f"{group}.")}


def _rows(prefix: str, options: list[_Option]) -> Iterator[str]:
    """Yield a row for each key that an option sets, then for those that are only declared, with a `+`."""
    keys = list(dict.fromkeys(key for option in options for key in option.content))
    declared = {key: None for o in options if o.model is not None for key in o.model.model_fields if key != "name"}
    given = {key for option in options for key in option.given}
    for key in [*keys, *(key for key in declared if key not in given)]:
        having = [option for option in options if key in option.content]
        every = len(having) == len(options)
        default = _by_option([(o.label, shown(o.content[key])) for o in having], every, code=True)
        fields = [field for o in having or options if o.model and (field := _field(o.model, key)) is not None]
        allowed = "; or ".join(dict.fromkeys(describe(field) for field in fields)) or "as its class says"
        said = [(o.label, o.comments[key]) for o in having if key in o.comments]
        meaning = _by_option(said, len({text for _, text in said}) == 1, code=False)
        cells = [f"`{'' if having else '+'}{prefix}{key}`", default or "not set", allowed, meaning]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _by_option(values: list[tuple[str, str]], every: bool, code: bool) -> str:
    """Return one value where all options agree, else each with its options; too many are left to the files."""
    labels: dict[str, list[str]] = {}
    for label, value in values:
        labels.setdefault(value, []).append(label)
    if code and len(values) > 1 and (len(labels) > 4 or any(len(value) > _LONGEST_VALUE for value in labels)):
        return "by option"
    quoted = {value: f"`{value}`" if code else value.replace("<", "&lt;") for value in labels}
    if len(labels) == 1 and every:
        return next(iter(quoted.values()))
    return "; ".join(f"{', '.join(names)}: {quoted[value]}" for value, names in labels.items())


def _field(model: type[Section], key: str) -> FieldInfo | None:
    """Return the declaration of a key, such as `preprocess.crop`, or of the one above it that has one."""
    first, _, rest = key.partition(".")
    field = model.model_fields.get(first)
    inner = [] if field is None else list(sections_in(field.annotation))
    return (_field(inner[0], rest) or field) if rest and inner else field


def _of_other_sections(group: str, name: str) -> str:
    """Return what an option chooses and sets outside of its own section."""
    return ", ".join(f"`{word}`" for word in words_of(group, name))


def main() -> int:
    """Write the tables into the page of the checkout that one is in; return the exit code."""
    try:
        if not PAGE.is_file():
            raise UserError(f"{PAGE} is not there; run this in the checkout's root folder")
        write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), tables()))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
