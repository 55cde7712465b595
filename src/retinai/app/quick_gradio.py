"""Importing Gradio without what it does for editors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_stub_files() -> Iterator[None]:
    """Have Gradio define its components in the block without parsing their source and writing stub files beside it.

    It does so at every import, for editors, which takes a third of the page's start. It asks `inspect.getfile` where a
    component stands, and goes on where there is no file.
    """
    where = inspect.getfile

    def of_others(object: Any) -> str:
        if isinstance(object, type) and object.__module__.partition(".")[0] == "gradio":
            raise OSError(f"{object.__name__} is not looked for")
        return where(object)

    inspect.getfile = of_others
    try:
        yield
    finally:
        inspect.getfile = where
