"""Gradio defines components without looking for their source in the block, and as ever after it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from retinai.app.quick_gradio import without_stub_files

gradio = pytest.importorskip("gradio", reason="pip install '.[app]'")


def test_only_gradios_own_components_have_no_file_in_the_block() -> None:
    with without_stub_files():
        with pytest.raises(OSError, match="Button"):
            inspect.getfile(gradio.Button)
        assert Path(inspect.getfile(Path)).name == "pathlib.py"
    assert Path(inspect.getfile(gradio.Button)).name == "button.py"


def test_a_component_is_defined_without_its_source_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the source was read")

    monkeypatch.setattr("gradio.component_meta.extract_class_source_code", read)

    def define() -> type:
        return type(gradio.Button)("Mine", (gradio.Button,), {"__module__": "gradio.components.button"})

    with without_stub_files():
        assert define().__name__ == "Mine"
    with pytest.raises(AssertionError, match="was read"):
        define()
