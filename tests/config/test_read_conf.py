"""Files of `conf/` are parsed once in a process, and nobody can tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from retinai.config.paths import read_conf


def test_a_file_is_what_it_holds_now(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("defaults: [a]\nlr: 1e-3\nname: 1.5\n")
    first = read_conf(file)
    assert first == yaml.safe_load(file.read_text())
    first["defaults"].append("b")
    assert read_conf(file)["defaults"] == ["a"]
    file.write_text("# nothing\n")
    os.utime(file, ns=(0, 1))
    assert read_conf(file) == {}


def test_a_file_that_is_no_yaml_is_told_as_one(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("a: [1\n")
    with pytest.raises(yaml.YAMLError):
        read_conf(file)
