"""Rows in processes of their own: measured in turns, and what happens when one dies."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from module_factory import SIZE, make_classifier, section

from retinai.benchmark.contenders import STAGES, FolderContender, TorchContender, random_inputs
from retinai.benchmark.photographs import HEIGHT, WIDTH, fit, jpeg_photographs
from retinai.benchmark.rounds import Measured, measure
from retinai.benchmark.rows import Row
from retinai.benchmark.worker import peak_memory
from retinai.data.photographs.images import decode_photograph
from retinai.data.photographs.original import Original
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError


def make_checkpoint(folder: Path) -> Path:
    from retinai.benchmark.untrained import save

    backbone = section("backbone", "resnet18", weights="none", input_size=SIZE)
    save(make_classifier(backbone=backbone), folder / "resnet18.ckpt")
    return folder / "resnet18.ckpt"


def test_photographs_are_jpegs_of_one_size_and_show_a_retina(tmp_path: Path) -> None:
    from retinai.data.photographs.retina import prepare_retina

    for number, data in enumerate(jpeg_photographs(None, 2)):
        assert data[:3] == b"\xff\xd8\xff"
        pixels = decode_photograph(data, "drawn")
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        (tmp_path / f"{number}.jpg").write_bytes(data)
        preprocessing = Preprocessing(32, (0.5,) * 3, (0.5,) * 3)
        assert prepare_retina(Original(pixels, "drawn"), preprocessing).shape == (32, 32, 3)
    assert fit(np.full((100, 100, 3), 255, np.uint8)).any(axis=(0, 2)).sum() == HEIGHT  # square: black at the sides
    assert len(jpeg_photographs(str(tmp_path), 5)) == 2
    with pytest.raises(UserError):
        jpeg_photographs(str(tmp_path / "nothing"), 2)


def test_a_torch_contender_grades_and_counts(tmp_path: Path) -> None:
    contender = TorchContender(str(make_checkpoint(tmp_path)))
    decisions, spent = contender.grade(jpeg_photographs(None, 2))
    assert decisions.shape == (2,) and tuple(spent) == STAGES
    assert spent["decode"] > 0 and spent["network"] > 0 and spent["topology"] < 1e-3
    p = contender.probabilities(random_inputs(3, SIZE, ())[0], {})
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    contender.alone(2)()
    facts = contender.facts()
    assert set(facts["memory_formats"]) == {"2"}
    # timm's own counts: 11.69 M parameters with 1000 classes of 512 weights and a bias each; here there are 5.
    assert facts["parameters"] == 11_689_512 - 995 * 513
    # By hand: published 1.814 G multiply-adds at 224 px with 1000 classes; convolutions go with the area.
    assert facts["macs"] == pytest.approx((1.814e9 - 0.512e6) * (SIZE / 224) ** 2, rel=0.01)
    assert facts["bytes"] == pytest.approx(4 * facts["parameters"], rel=0.01)


def test_a_row_that_cannot_be_loaded_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    jpeg = tmp_path / "0.jpg"
    jpeg.write_bytes(jpeg_photographs(None, 1)[0])
    rows = [
        Row("gone", "gone", "student", "student", "onnx", "fp32", str(tmp_path / "no_folder"), 32),
        Row("small", "small", "baseline", "resnet101", "pytorch", "fp32", str(make_checkpoint(tmp_path)), 32),
        Row("wrong", "wrong", "student", "student", "onnx", "fp32", None, 32),  # type: ignore[arg-type]
    ]
    steps: list[tuple[str, int, int]] = []
    found: list[Measured] = measure(
        rows, [jpeg], threads=1, plan=[(1, 2), (3, 1)], turn=0.0, progress=lambda *step: steps.append(step)
    )
    assert "no_folder" in found[0].reason and "no such folder" in found[0].reason
    assert "process ended with code 1" in found[2].reason and "TypeError" in found[2].reason
    good = found[1]
    assert good.reason == "" and {key: len(times) for key, times in good.seconds.items()} == {
        ("network", 1): 2, ("processor", 1): 2, ("grade", 1): 2,
        ("network", 3): 1, ("processor", 3): 1, ("grade", 3): 1,
    }  # fmt: skip
    assert set(good.stages[1]) == set(STAGES) and len(good.stages[3]["decode"]) == 1
    assert good.stages[3]["decode"][0] > good.stages[1]["decode"][0]  # three photographs, not one
    assert 50 < good.megabytes[1] <= good.megabytes[3]
    assert good.facts["parameters"] > 1e7 and peak_memory() > 50
    assert [done for _, done, _ in steps] == list(range(steps[-1][2]))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.json"):
        FolderContender(str(tmp_path), 1)


@pytest.mark.parametrize("faster", ["channels_last", "contiguous"])
def test_every_pytorch_row_runs_in_its_faster_memory_format(tmp_path: Path, faster: str) -> None:
    contender = TorchContender(str(make_checkpoint(tmp_path)))
    network, seen = contender.network, []

    def predict(images: torch.Tensor) -> None:
        weights = next(p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1)
        own = "contiguous" if weights.is_contiguous() else "channels_last"
        seen.append(own)
        time.sleep(0 if own == faster else 0.05)

    contender.predict = predict
    run = contender.alone(3)
    assert set(seen) == {"channels_last", "contiguous"} and contender.memory_formats == {3: faster}
    run()
    assert seen[-1] == faster
