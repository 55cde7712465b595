"""Measured figures go into the documents between their marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture()
def student(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script."""
    monkeypatch.syspath_prepend(str(_ROOT))
    from benchmarks import student

    return student


def result(together: str, whole: float, factors: tuple[float, float, float] | None) -> dict[str, Any]:
    names = ("network", "engine", "precision")
    last = None if factors is None else {n: {"median": f} for n, f in zip(names, factors, strict=True)}
    goals = [
        {"goal": "the whole", "target": 18, "at_most": False, "measured": whole},
        {"goal": "QWK lost", "target": 0.005, "at_most": True, "measured": 0.0021},
        {"goal": "topology", "target": 10, "at_most": True, "measured": None},
    ]
    details = {"median": whole, "factors": {"together": together, "network_last": last}}
    return {"student_vs_resnet101_details": details, "goals": goals}


def test_the_table_of_the_readme(student: Any) -> None:
    page = student.readme_table(
        result("OpenVINO int8", 150.2, (12.04, 5, 2.5)), result("OpenVINO bf16", 22, (4, 5, 1.1))
    )
    assert page.splitlines()[2:] == [
        "| EfficientNet-Lite0, OpenVINO int8 | 12 | 5 | 2.5 | 150 | >= 18 |",
        "| EfficientNet-B2, untrained, OpenVINO bf16 | 4 | 5 | 1.1 | 22 | >= 18 |",
        "",
        "| EfficientNet-Lite0 | measured | goal |",
        "|---|---|---|",
        "| QWK lost | 0.0021 | <= 0.005 |",
        "| topology | not measured | <= 10 |",
    ]
    with pytest.raises(SystemExit, match="factors of EfficientNet-Lite0 were not measured"):
        student.readme_table(result("OpenVINO int8", 150, None), result("OpenVINO int8", 22, (4, 5, 1.1)))


def test_figures_replace_what_stands_between_their_marks(student: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: x -->\nold\n<!-- end: x -->\nb\n")
    student.put(page, "x", r"new \1 figures" + "\n")
    assert page.read_text() == "a\n<!-- measured: x -->\nnew \\1 figures\n<!-- end: x -->\nb\n"
    with pytest.raises(SystemExit, match="must hold"):
        student.put(page, "y", "new")


def test_the_documents_hold_the_marks(student: Any) -> None:
    marks = {"README.md": ["student"], "docs/speed.md": ["efficientnet_lite0", "efficientnet_b2", "decoding"]}
    for page, names in marks.items():
        text = (_ROOT / page).read_text()
        for name in names:
            assert text.count(f"<!-- measured: {name} -->") == text.count(f"<!-- end: {name} -->") == 1
    assert "benchmarks/student.py" in (_ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "must be the folder of IDRiD"), (["idrid=nowhere"], "must be the folder"), (["fast=1"], "unknown option")],
)
def test_a_users_fault_is_a_sentence(
    student: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["student.py", *words])
    with pytest.raises(SystemExit, match=said):
        student.main()
