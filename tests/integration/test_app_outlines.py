"""The page of a folder that draws masks: outlines over the photograph, switched on and off in a real browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fundus_pictures import fundus_pictures
from served_page import Served, served
from small_network import SMALL_NETWORK

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(
    synthetic_idrid: Path, command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    place = tmp_path_factory.mktemp("page")
    words = [
        "data=idrid", f"data.root={synthetic_idrid}", "data.num_workers=0", "data.batch_size=8", *SMALL_NETWORK,
        "backbone.input_size=32", "model=lesions", "model.mask_size=64", "model.crop=32", "trainer=cpu", "test=false",
        "trainer.max_epochs=1", "logger=none", f"paths.cache={place / 'cache'}", f"run_dir={place / 'run'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    checkpoint = f"ckpt={place / 'run' / 'checkpoints' / 'best.ckpt'}"
    assert command("export", checkpoint, f"out={place / 'folder'}", f"paths.cache={place / 'cache'}") == 0
    words = [f"model={place / 'folder'}", "port=0", "threads=1", "time_limit=120"]
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    with served(Path(sys.executable), place, words, environment) as started:
        yield started
    assert "Traceback" not in "".join(started.said)


def test_outlines_are_shown_when_asked_for_and_switched(page: Served, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "eye.png"
    file.write_bytes(next(iter(fundus_pictures(1))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(locale="en-GB")
        tab.goto(page.url)
        tab.wait_for_selector("#grade")
        tab.set_input_files("#upload-right input[type=file]", file)
        tab.wait_for_selector("#upload-right :text('eye')")
        tab.check("#outline input")
        tab.click("#grade")
        tab.wait_for_selector("#result .switches")
        assert "Optic disc" in tab.inner_text("#result .switches") and tab.locator("#result svg g").count() == 5
        # A network of one epoch draws something: the first kind that has a region.
        shown = [i for i in range(5) if tab.locator(f"#result .outline-{i} polygon").count()]
        assert shown
        group = tab.locator(f"#result .outline-{shown[0]}")
        assert group.evaluate("element => getComputedStyle(element).display") != "none"
        tab.uncheck(f"#result .show-{shown[0]}")
        assert group.evaluate("element => getComputedStyle(element).display") == "none"
        picture, drawn = (tab.locator(f"#result .layers {part}").bounding_box() for part in ("img", "svg"))
        assert picture is not None and drawn is not None
        assert all(abs(picture[side] - drawn[side]) < 1 for side in ("x", "y", "width", "height"))
        tab.check(f"#result .show-{shown[0]}")
        tab.screenshot(path=tmp_path / "outlines.png", full_page=True)
        browser.close()
