"""docs/configuration.md says what conf/ says."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinai.config import reference
from retinai.config.paths import conf_dir
from retinai.errors import UserError

_PAGE = Path(__file__).resolve().parents[2] / reference.PAGE

# Hydra's own, what other choices decide, and what other commands choose from.
_NOT_OF_TRAIN = ("hydra", "phase_defaults", "prompts", "recommendation")


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """The tables, which take a second to write."""
    return reference.tables()


def test_the_page_is_what_the_command_writes(written: dict[str, str]) -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert reference.with_tables(page, written) == page, "docs/configuration.md differs from conf/; run `make docs`"


def test_every_option_of_every_group_is_in_the_table(written: dict[str, str]) -> None:
    rows = {row.split("`")[1].lstrip("+"): row for row in written["groups"].splitlines() if row.startswith("| `")}
    for folder in (p for p in conf_dir().iterdir() if p.is_dir() and p.name not in _NOT_OF_TRAIN):
        for path in folder.glob("[!_]*.yaml"):
            assert f"`{path.stem}`" in rows[folder.name]


def test_keys_that_a_file_or_a_group_sets_have_no_plus_sign(written: dict[str, str]) -> None:
    assert (
        "`+phase`" not in written["keys"]
        and "`+callbacks.best`" not in written["keys"]
        and "`+debug`" not in written["keys"]
    )


@pytest.mark.parametrize(
    "cells",
    [
        "| `model.temperature` | distiller: `4.0` | a number from 0.01 to 100 |",
        "lora of lesions, lora of two_eyes: `8`; lora of hybrid, lora of llava, qlora: `16` |",
        "| `data.preprocess.crop` | `fov` | fov, none | crop to the field of view; none keeps the frame |",
        "| `callbacks.early_stopping.patience` | default, ema: `15` | a whole number from 1 | epochs without",
        "| `+trainer.min_epochs` | not set | a whole number from 1, or null |",
        "| `phase=linear_probe` | `tuning=head`, `augment=none`, `trainer.max_epochs=25`, `optimizer.lr=0.001` |",
        "| `ckpt` | `???` | a path, not empty | the checkpoint, such as",
    ],
)
def test_rows(written: dict[str, str], cells: str) -> None:
    assert cells in written["keys"]


def test_a_missing_mark_is_told(written: dict[str, str]) -> None:
    with pytest.raises(UserError, match="lacks the mark <!-- end of keys -->"):
        reference.with_tables(_PAGE.read_text(encoding="utf-8").replace("<!-- end of keys -->", ""), written)
