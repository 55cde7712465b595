"""Texts of figures may be names of files and classes."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from retinai.reports.style import new_figure, save_figure


def test_names_are_drawn_whatever_they_hold(tmp_path: Path) -> None:
    """A dollar sign begins no formula, and a byte that is not UTF-8 ends no command."""
    figure, (axes,) = new_figure()
    axes.set_title("$\\frac$ \udcff")
    axes.plot([1, 2], [1, 100], label="a$b$c_^{")
    axes.set_xticks([1, 2], ["$x_{$", "$"])
    axes.set_yscale("log")
    axes.legend()
    axes.text(1, 1, "$\\nothing$")
    save_figure(figure, tmp_path / "f.png")
    assert axes.get_title() == "$\\frac$ \\xdcff"
    assert axes.get_yticklabels()[0].get_parse_math()  # powers of ten are formulas
    with Image.open(tmp_path / "f.png") as image:
        assert image.size[0] > 300
