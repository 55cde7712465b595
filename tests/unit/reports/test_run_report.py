"""Figures, contact sheet and the report page, from predictions alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retinai.prediction.predictions import Predictions
from retinai.reports import figures
from retinai.reports.contact_sheet import contact_sheet, worst_mistakes, worst_rows
from retinai.reports.learning_curves import learning_curves_figure
from retinai.reports.parts import ReportPart
from retinai.reports.run_report import write_evaluation
from retinai.reports.sections import ReportSection, ReportTable
from retinai.reports.style import save_figure
from retinai.tasks.known import DR_GRADE, ODIR_8


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[:120, :160]
    disc = ((y - 60) ** 2 + (x - 80) ** 2 < 55**2)[..., None]
    path = tmp_path_factory.mktemp("photos") / "eye.png"
    Image.fromarray((disc * np.array([180, 90, 40])).astype(np.uint8)).save(path)
    return path


def graded(path: Path, n: int = 40) -> Predictions:
    rng = np.random.default_rng(0)
    ids = [f"eye<{i}>" for i in range(n)]  # has to be escaped in HTML
    p = rng.dirichlet(np.ones(5), n)
    return Predictions(DR_GRADE, ids, [str(path)] * n, ids, rng.integers(0, 5, n), p, "argmax")


def labelled(path: Path, n: int = 40) -> Predictions:
    rng = np.random.default_rng(0)
    ids = [f"eye{i}" for i in range(n)]
    targets = (rng.random((n, 8)) < 0.3).astype(int)
    return Predictions(ODIR_8, ids, [str(path)] * n, ids, targets, rng.random((n, 8)), "threshold")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("make", [graded, labelled])
def test_an_evaluation_leaves_everything_and_the_page_stands_alone(make, photograph: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 4711\n")
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss,val/loss,val/qwk\n0,5,1.5,1.4,0.1\n1,10,1.2,1.3,0.3\n")
    predictions = make(photograph)
    metrics = write_evaluation(
        tmp_path,
        predictions,
        title="resnet18 on <data>",
        details={"seed": 0, "versions": {"torch": "2.9"}, "notes": ["two photographs were left out"]},
        metrics_csv=tmp_path / "metrics.csv",
        resamples=50,
    )
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    names = {"confusion_matrix", "roc", "pr", "reliability", "learning_curves", "worst_mistakes"}
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == names
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    images = [values["src"] for tag, values in page.tags if tag == "img"]
    assert len(images) == 5 + 12 and all(src and src.startswith("data:image/") for src in images)
    assert not re.search(r"(?:src|href)=\"(?!data:)", text) and "url(" not in text
    assert any(tag == "meta" and values.get("name") == "viewport" for tag, values in page.tags)
    assert not any(tag in ("data", "script") for tag, _ in page.tags)
    for words in (
        "no medical device",
        "two photographs were left out",
        "4711",
        "versions: torch",
        "resnet18 on <data>",
    ):
        assert words in page.words
    for name in predictions.task.classes:
        assert figures.readable(name) in page.words


def test_a_calibration_is_shown_before_and_after_and_others_add_sections(photograph: Path, tmp_path: Path) -> None:
    before = graded(photograph)
    point = {"threshold": 0.4, "sensitivity": 0.91, "specificity": 0.62, "n": 77, "referable": 30}
    calibration = {"temperature": 3.25, "scaling": "softmax", "operating_points": {"sensitivity_90": point}}
    plain = write_evaluation(tmp_path / "plain", before, title="plain", details={}, resamples=20)
    figure = tmp_path / "plain" / "figures" / "roc.png"
    more = ReportSection("Findings", ["<b>no</b> markup"], [ReportTable(("a", "b"), [("1", "2")])], [("curve", figure)])
    part = ReportPart("findings", {"n": 3}, [more])
    metrics = write_evaluation(
        tmp_path / "scaled", before, title="scaled", details={}, resamples=20, calibration=calibration, parts=[part]
    )
    assert json.loads((tmp_path / "scaled" / "metrics.json").read_text()) == metrics
    assert metrics["calibration"]["calibration_error"]["before"] == plain["calibration_error"]
    assert metrics["calibration"]["calibration_error"]["after"] == metrics["calibration_error"]
    assert metrics["findings"] == {"n": 3} and metrics["qwk"] == plain["qwk"] and "calibration" not in plain
    page = Page((tmp_path / "scaled" / "report.html").read_text())
    for words in ("temperature 3.25", "fixed sensitivity, 90 %", "0.91, 0.62 (n = 77)", "<b>no</b> markup", "Findings"):
        assert words in page.words
    assert page.words.index("operating points") < page.words.index("Findings") < page.words.index("worst mistakes")
    assert sum(tag == "img" for tag, _ in page.tags) == 4 + 1 + 12
    files = [tmp_path / name / "figures" / "reliability.png" for name in ("plain", "scaled")]
    assert files[0].read_bytes() != files[1].read_bytes()
    axes = figures.reliability_figure(before.calibrated(calibration), before=before).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "perfectly calibrated", "before scaling", "after",
    ]  # fmt: skip


def test_worst_mistakes_come_first(photograph: Path) -> None:
    targets = np.array([0, 4, 2, 1, 0])
    p = np.array(
        [[0.1, 0.1, 0.1, 0.1, 0.6], [0.8, 0.05, 0.05, 0.05, 0.05],
         [0, 0, 1, 0, 0], [0.1, 0, 0.9, 0, 0], [0, 0.4, 0.6, 0, 0]]
    )  # fmt: skip
    ids = list("abcde")
    predictions = Predictions(DR_GRADE, ids, [str(photograph)] * 4 + ["gone.png"], ids, targets, p, "argmax")
    assert worst_rows(predictions, 9) == [1, 0, 4, 3]
    mistakes = worst_mistakes(predictions, limit=3)
    assert [(m.id, m.true, m.predicted, m.probability) for m in mistakes] == [
        ("b", "proliferative", "no DR", 0.8),
        ("a", "no DR", "proliferative", 0.6),
        ("e", "no DR", "moderate", 0.6),
    ]
    assert mistakes[0].image is not None and mistakes[0].image.shape == (240, 240, 3)
    assert mistakes[2].image is None
    assert contact_sheet(mistakes) is not None and contact_sheet([]) is None


def test_multilabel_mistakes_weigh_wrong_labels_only(photograph: Path) -> None:
    targets = np.zeros((3, 8), int)
    p = np.full((3, 8), 0.4)
    p[1, 2], p[2, 3], p[2, 4] = 0.95, 0.6, 0.6
    ids = list("abc")
    predictions = Predictions(ODIR_8, ids, [str(photograph)] * 3, ids, targets, p, "threshold")
    assert worst_rows(predictions, 9) == [2, 1]
    (first, _) = worst_mistakes(predictions)
    assert (first.true, first.predicted, first.probability) == ("no label", "C, A", 0.6)


def test_a_figure_has_the_same_bytes_again(photograph: Path, tmp_path: Path) -> None:
    predictions = graded(photograph)
    for name in "ab":
        save_figure(figures.roc_figure(predictions), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_class_alone_still_gives_figures(photograph: Path, tmp_path: Path) -> None:
    ids = list("abc")
    only = Predictions(DR_GRADE, ids, [str(photograph)] * 3, ids, np.zeros(3, int), np.eye(5)[[0, 0, 0]], "argmax")
    metrics = write_evaluation(tmp_path, only, title="one class", details={}, resamples=20)
    assert metrics["auroc"]["value"] is None
    assert not (tmp_path / "figures" / "worst_mistakes.png").exists()


def test_learning_curves_need_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert learning_curves_figure(path) is None
    path.write_text("epoch,step,train/loss\n")
    assert learning_curves_figure(path) is None
    path.write_text("epoch,train/loss,val/qwk\n0,1.0,\n0,,0.2\n1,0.5,0.1\n")
    figure = learning_curves_figure(path, "val/qwk")
    assert figure is not None and "(0)" in figure.axes[1].get_title()
    assert figure.axes[0].get_lines()[0].get_ydata().tolist() == [1.0, 0.5]


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_prints_the_page(photograph: Path, tmp_path: Path) -> None:
    write_evaluation(tmp_path, graded(photograph), title="print", details={}, resamples=20)
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    out = tmp_path / "page.pdf"
    subprocess.run(
        [*words, f"--print-to-pdf={out}", (tmp_path / "report.html").as_uri()],
        check=True,
        timeout=120,
        capture_output=True,
    )
    assert out.read_bytes().startswith(b"%PDF")
