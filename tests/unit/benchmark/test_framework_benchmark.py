"""The comparisons of `make benchmark` run on the module of the default composition."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from retinai.config.compose import compose
from retinai.data.photographs.preprocessing import Preprocessing

_ROOT = Path(__file__).resolve().parents[3]
WORDS = ["backbone=resnet18", "backbone.weights=none", "backbone.input_size=32", "attention=cbam"]


def test_steps_through_the_framework_and_without_it_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_ROOT))
    from benchmarks import training

    module = training.make_module(
        compose("train", WORDS), Preprocessing(32, (0.5,) * 3, (0.5,) * 3), pd.DataFrame({"target": [0, 1, 2, 3, 4, 4]})
    )
    batch = {"id": ["a", "b"], "image": torch.rand(2, 3, 32, 32), "target": torch.tensor([0, 4])}
    result = training.compare_with_bare_loop(module, [batch] * (training.WARM + 2), rounds=2)
    assert result.ratio is not None and result.ratio > 0 and set(result.seconds) == {"framework", "bare"}
