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


def test_a_figure_has_the_bytes_that_matplotlib_alone_would_write(tmp_path: Path) -> None:
    for name in ("ours", "plain"):
        figure, axes = new_figure(rows=1, columns=2)
        axes[0].imshow([[0.0, 1.0], [2.0, 3.0]])
        axes[0].set_title("a title above a square")
        axes[1].plot([1, 2], [1, 1000], label="one")
        axes[1].set_ylabel("a long name of an axis")
        axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
        if name == "ours":
            save_figure(figure, tmp_path / "ours.png")
        else:
            figure.savefig(tmp_path / "plain.png", metadata={"Software": None})
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
