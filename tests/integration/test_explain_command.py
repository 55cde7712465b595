"""`retinai explain` on a data set with masks and on loose files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_network import SMALL_NETWORK

from retinai.lesions.findings import LESION_NAMES, OPTIC_DISC


@pytest.fixture(scope="module")
def checkpoint(synthetic_idrid: Path, command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of drawn photographs in IDRiD's layout, some with masks."""
    folder = tmp_path_factory.mktemp("explained")
    words = [
        "data=idrid", f"data.root={synthetic_idrid}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=64", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        "test=false", f"run_dir={folder / 'run'}", f"paths.cache={folder / 'cache'}",
    ]  # fmt: skip
    assert command("train", *words) == 0
    return folder / "run" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def explained(checkpoint: Path, command: Callable[..., int]) -> Path:
    folder = checkpoint.parents[2] / "explanations"
    words = [
        "split=train",
        "method=[layercam,gradcam]",
        "layer=layer3",
        "regions=[vessels,lesions,disc]",
        "vessels=sato",
        "resamples=50",
        "checks=3",
    ]
    places = [f"run_dir={folder}", f"paths.cache={checkpoint.parents[2] / 'cache'}", "num_workers=0"]
    assert command("explain", f"ckpt={checkpoint}", *words, *places, "accelerator=cpu") == 0
    return folder


def test_maps_pictures_and_measures_are_written(explained: Path) -> None:
    content = json.loads((explained / "explain.json").read_text())
    table = pd.read_csv(explained / "maps.csv")
    assert content["photographs"] == len(table) > 10 and content["score"] == "class logit"
    for row in table.itertuples():
        with np.load(explained / "maps" / row.file) as maps:
            assert maps["layercam"].shape == (1, 4, 4) and maps["classes"].tolist() == [row.decided]
            assert np.isfinite(maps["gradcam"]).all() and (maps["gradcam"] >= 0).all()
        assert Image.open(explained / "overlays" / f"{Path(row.file).stem}.png").size[0] >= 640
    assert {"vessels"} <= set(content["regions"]) <= {"vessels", *LESION_NAMES, OPTIC_DISC}
    disc = content["regions"]["optic_disc"]
    assert {"pooled", "mean", "excess", "p", "energy", "pointing", "photographs"} <= set(disc)
    assert disc["pooled"]["low"] <= disc["pooled"]["value"] <= disc["pooled"]["high"] and 0 < disc["p"] <= 1
    assert content["methods"]["gradcam"]["regions"]["optic_disc"] != disc
    assert content["references"]["uniform"]["optic_disc"] == pytest.approx(1, abs=1e-6)
    checks = content["checks"]
    assert checks["photographs"] == 3 and set(checks["methods"]) == {"layercam", "gradcam"}
    assert checks["methods"]["layercam"]["faithful"] in (True, False) and "gradcam layercam" in checks["agreement"]
    page = (explained / "explain.html").read_text()
    assert "Are the maps true to the network?" in page
    assert "Does it look where it should?" in page and "optic disc" in page and 'src="data:image/png' in page
    assert (explained / "figures" / "mean_layercam.png").exists()


def test_loose_files_of_which_one_is_bad(
    checkpoint: Path, synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    files = sorted(synthetic_idrid.rglob("*.jpg"))[:3]
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in files:
        (photos / file.name).write_bytes(file.read_bytes())
    (photos / "bad.jpg").write_bytes(b"no photograph")
    words = [f"images={photos}", "method=[occlusion,ig,cam]", "target=all", f"run_dir={tmp_path / 'out'}"]
    assert command("explain", f"ckpt={checkpoint}", *words, "num_workers=0") == 0
    content = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert content["photographs"] == len({file.name for file in files}) and list(content["unreadable"]) == ["bad"]
    with np.load(next((tmp_path / "out" / "maps").iterdir())) as maps:
        assert maps["occlusion"].shape == (5, 8, 8) and maps["ig"].shape == (5, 64, 64) and maps["cam"].shape[0] == 5


def test_the_report_of_the_run_says_where_it_looks(checkpoint: Path, command: Callable[..., int]) -> None:
    """Once, however often it is explained; a report of another make stays as it is."""
    report, cache = checkpoint.parents[1] / "report.html", f"paths.cache={checkpoint.parents[2] / 'cache'}"
    words = [f"ckpt={checkpoint}", "split=test", "layer=layer3", "num_workers=0", "overwrite=true", cache]
    own = "<h2>Figures</h2>\n<h2>How it was made</h2>\n<p>on a machine</p>"
    for content, times in ((own, 1), ("<p>something else</p>", 0)):
        report.write_text(content)
        for _ in range(2):
            assert command("explain", *words, f"run_dir={checkpoint.parents[2] / 'reported'}") == 0
        page = report.read_text()
        assert page.count("Where it looks, by grade</h2>") == times and page.count("image/png") >= times
    report.write_text(own)
    assert command("explain", *words, "report=false", f"run_dir={checkpoint.parents[2] / 'reported'}") == 0
    assert report.read_text() == own
    report.unlink()


def test_the_true_class_is_asked_for_as_documented(
    checkpoint: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    """`target=true` is a truth value to Hydra, not a text."""
    places = [f"run_dir={tmp_path / 'out'}", f"paths.cache={checkpoint.parents[2] / 'cache'}", "num_workers=0"]
    words = ["target=true", "layer=layer3", "resamples=10", "overlays=false", "report=false", "accelerator=cpu"]
    assert command("explain", f"ckpt={checkpoint}", *words, *places) == 0
    assert json.loads((tmp_path / "out" / "explain.json").read_text())["target"] == "true"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["layer=blocks.9"], "there are: last, conv1"),
        (["layer=global_pool"], "no map"),
        (["target=worst"], "valid: decided, true, all, no_dr"),
        (["method=rollout"], "does not have"),
        (["method=saliency"], "method"),
        (["images=nowhere"], "no such folder"),
        (["images=.", "regions=[lesions]"], "needs masks"),
        (["images=.", "data=idrid"], "not both"),
        (["regions=[fovea]"], "regions"),
        (["regions=[vessels]", "paths.weights=/nowhere"], "lwnet"),
    ],
)
def test_the_users_faults_are_one_sentence(
    checkpoint: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    cache = f"paths.cache={checkpoint.parents[2] / 'cache'}"
    run_dir = tmp_path / "out"
    assert command("explain", f"ckpt={checkpoint}", f"run_dir={run_dir}", cache, "num_workers=0", *words) == 2
    assert said in capsys.readouterr().err
    assert not run_dir.exists()
