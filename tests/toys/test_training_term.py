"""A term of the loss that no file of the package knows: named in the configuration, trained, and left out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_network import SMALL_NETWORK
from torch import Tensor

from retinai.modules.load import load_module
from retinai.modules.training_terms import TrainingTerm


class SmallLogits(TrainingTerm):
    """The mean square of the logits."""

    def __init__(self, name: str = "small", weight: float = 0.1) -> None:
        self.name, self.weight = name, weight

    @contextmanager
    def watch(self, module: Any) -> Iterator[None]:
        yield None

    def values(self, module: Any, seen: None, logits: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"small_logits": logits.square().mean()}


@pytest.fixture(scope="module")
def words(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("terms") / "cache"
    return [
        "data=aptos", f"data.root={synthetic_aptos}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        "test=false", f"paths.cache={cache}",
    ]  # fmt: skip


def test_it_is_logged_and_its_checkpoint_is_read(words: list[str], command: Callable[..., int], tmp_path: Path) -> None:
    run = tmp_path / "run"
    term = f"+model.terms.small={{_target_: {__name__}.SmallLogits, name: small, weight: 5.0}}"
    assert command("train", *words, term, f"run_dir={run}") == 0
    assert pd.read_csv(run / "metrics.csv")["train/small_logits"].notna().any()
    module: Any = load_module(run / "checkpoints" / "best.ckpt")
    assert isinstance(module.terms["small"], SmallLogits) and module.terms["small"].weight == 5


def test_a_class_that_is_no_term_leaves_nothing_behind(
    words: list[str], command: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    term = "+model.terms.small={_target_: pathlib.Path, name: small}"
    assert command("train", *words, term, f"run_dir={tmp_path / 'run'}") == 2
    assert "is no TrainingTerm" in capfd.readouterr().err and not (tmp_path / "run").exists()
