"""`retinai app` as a clinician meets it: in a real browser, with both eyes, bad files, two people, and a printer."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fundus_pictures import fundus_pictures
from served_page import Served, served

from retinai.app.texts import LANGUAGES, load_texts
from retinai.runtime import ExportedModel
from retinai.tasks.known import DR_GRADE

PARTS = ("#language", "#upload-right", "#upload-left", "#operator", "#reference", "#grade")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    words = [f"model={tiny_export}", "port=0", "max_megabytes=2", "threads=1", "time_limit=120"]
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    with served(Path(sys.executable), tmp_path_factory.mktemp("page"), words, environment) as started:
        yield started
    assert "Traceback" not in "".join(started.said)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(page: Served, browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page; faults and requests to other machines fail the test at its end."""
    contexts: list[Any] = []
    faults: list[str] = []

    def note(request: Any) -> None:
        if not request.url.startswith((page.url, "data:", "blob:", "about:")):
            faults.append(request.url)

    def open_tab(**settings: Any) -> Any:
        context = browser.new_context(**{"locale": "en-GB"} | settings)
        contexts.append(context)
        context.on("request", note)
        opened = context.new_page()
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.goto(page.url)
        opened.wait_for_selector("#grade")
        return opened

    yield open_tab
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def expected(tiny_export: Path, photographs: list[Path]) -> list[str]:
    table = ExportedModel(tiny_export, threads=1).predict(photographs, workers=0)
    return [load_texts("en").class_name(DR_GRADE.classes[int(grade)]) for grade in table["prediction"]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    for number, data in enumerate(fundus_pictures(6)):
        (folder / f"eye{number:02}.png").write_bytes(data)
    return sorted(folder.iterdir())


def upload(tab: Any, eye: str, file: Path) -> None:
    tab.set_input_files(f"#upload-{eye} input[type=file]", file)
    tab.wait_for_selector(f"#upload-{eye} :text('{file.name[:4]}')")


def graded(tab: Any, *files: Path) -> list[str]:
    """Grade photographs as right and left eye; return what the page calls each eye's grade."""
    for eye, file in zip(("right", "left"), files, strict=False):
        upload(tab, eye, file)
    tab.click("#grade")
    tab.wait_for_function(f"document.querySelectorAll('#result .eye').length === {len(files)}")
    return tab.locator("#result .grade").all_text_contents()


def test_both_eyes_have_the_grades_of_the_folder(
    page: Served, tab: Callable[..., Any], photographs: list[Path], expected: list[str]
) -> None:
    opened = tab()
    assert opened.is_visible("text=No medical device") and opened.is_disabled("#print")
    assert graded(opened, *photographs[:2]) == expected[:2]
    text = opened.inner_text("body")
    for part in ("How to use this page", "Right eye", "Left eye", "Recommendation", "ICO Guidelines", "In words",
                 "What the grades mean", "Research software"):  # fmt: skip
        assert part in text
    assert len(opened.locator("#result .eye img").all()) == 2 and len(opened.locator("#result .bars tr").all()) == 10
    assert page.uploads() == []  # removed as soon as they were graded
    assert opened.locator("#upload-right input[type=file]").count() == 1  # and the next ones can be chosen
    assert graded(opened, photographs[2]) == expected[2:3]  # nothing of the patient before
    opened.check("#heat input")
    graded(opened, photographs[3], photographs[4])
    opened.wait_for_selector("#result figure img")
    assert opened.locator("#result figure img").count() == 2  # what each grade rests on


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no photograph", "cannot be read as a photograph"), (b"\xff\xd8\xff\xe0" + bytes(500), "cannot be read")],
)
def test_a_corrupted_file_is_told_beside_the_other_eye(
    tab: Callable[..., Any], photographs: list[Path], tmp_path: Path, content: bytes, said: str
) -> None:
    bad = tmp_path / "corrupted.jpg"
    bad.write_bytes(content)
    opened = tab()
    assert len(graded(opened, photographs[0], bad)) == 1
    assert said in opened.inner_text("#result .eye >> nth=1")
    assert "Please take another photograph" in opened.inner_text("#result .eye >> nth=1")


def test_a_large_file_is_refused(page: Served, tab: Callable[..., Any], tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    with large.open("wb") as stream:
        stream.truncate(50 * 2**20)
    opened = tab()
    opened.set_input_files("#upload-right input[type=file]", large)
    opened.wait_for_selector("text=/exceeds|too large|maximum/i")
    opened.click("#grade")
    opened.wait_for_selector("text=Choose a photograph first")
    assert page.uploads() == []


def test_two_people_at_once_get_their_own(
    tab: Callable[..., Any], photographs: list[Path], expected: list[str]
) -> None:
    opened = [tab(), tab()]
    for each, file in zip(opened, photographs[3:5], strict=True):
        upload(each, "right", file)
    for each in opened:
        each.click("#grade")
    for each, grade in zip(opened, expected[3:5], strict=True):
        each.wait_for_selector("#result .eye")
        assert each.locator("#result .grade").all_text_contents() == [grade]


def test_the_print_out_is_one_page_of_its_own(
    tab: Callable[..., Any], photographs: list[Path], expected: list[str]
) -> None:
    opened = tab()
    graded(opened, *photographs[:2])
    opened.fill("#reference input, #reference textarea", "<b>Bed 12</b>")
    with opened.context.expect_page() as waiting:
        opened.click("#print")
    print_out = waiting.value
    print_out.wait_for_selector("#reference")
    assert print_out.inner_text("#patient") == "Patient: <b>Bed 12</b>"
    text = print_out.inner_text("body")
    assert all(grade in text for grade in expected[:2]) and "Research software" in text
    pdf = print_out.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and 1 <= pdf.count(b"/Type /Page\n") <= 2


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_speaks_the_language_of_the_browser(tab: Callable[..., Any], photographs: list[Path], code: str) -> None:
    t = load_texts(code)
    opened = tab(locale={"en": "en-US", "es": "es-MX", "hi": "hi-IN"}[code])
    opened.wait_for_selector(f"text={t('instructions_title')}")
    graded(opened, photographs[0])
    assert t("advice_title") in opened.inner_text("#result")
    other = load_texts("es" if code == "en" else "en")
    opened.get_by_label(other("language")).check()
    opened.wait_for_selector(f"#result >> text={other('advice_title')}")
    assert opened.evaluate("document.documentElement.lang") == other.code
    assert opened.inner_text("#grade") == other("grade") and other("banner") in opened.inner_text("#banner")


def test_it_works_with_the_keyboard_alone(tab: Callable[..., Any], photographs: list[Path]) -> None:
    opened = tab()
    reached = set()
    for _ in range(12):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate(f"(document.activeElement.closest('{', '.join(PARTS)}') || {{}}).id || ''"))
    assert {part.removeprefix("#") for part in PARTS} <= reached
    with opened.expect_file_chooser() as chooser:
        opened.locator("#upload-right button").first.focus()
        opened.keyboard.press("Enter")
    chooser.value.set_files(photographs[0])
    opened.wait_for_selector(f"#upload-right :text('{photographs[0].name[:4]}')")
    opened.locator("#grade").focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#result .eye")
    assert opened.locator("#result [role=status]").count() == 1  # screen readers tell that the result is there


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(tab: Callable[..., Any], photographs: list[Path], scheme: str) -> None:
    opened = tab(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    graded(opened, *photographs[:2])
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
