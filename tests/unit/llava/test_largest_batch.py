"""A large network gets no more photographs at once than it can take, whatever batches a loop brings."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
from test_llava_grader import grader

from retinai.llava.module import LlavaGrader


@pytest.fixture(scope="module")
def module() -> LlavaGrader:
    return grader(max_answer_tokens=3).eval()


@pytest.fixture
def sizes(module: LlavaGrader, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photographs the vision tower was given, call by call."""
    found: list[int] = []
    tower = next(part for name, part in module.network.model.named_modules() if name.endswith("vision_tower"))
    handle = tower.register_forward_pre_hook(
        lambda _, args, kwargs: found.append(len(args[0] if args else kwargs["pixel_values"])), with_kwargs=True
    )
    yield found
    handle.remove()


def batch_of(count: int) -> dict[str, Any]:
    images = torch.randn(count, 3, 168, 168, generator=torch.Generator().manual_seed(0))
    return {"image": images, "id": [str(i) for i in range(count)], "target": torch.arange(count) % 5}


def test_prediction_in_words_is_that_of_small_batches(module: LlavaGrader, sizes: list[int]) -> None:
    batch = batch_of(6)
    with torch.no_grad():
        whole = module.predict_step(batch)
    assert max(sizes) == module.largest_batch == 4 and len(whole["answer"]) == 6
    with torch.no_grad():
        ends = module.predict_step({key: value[4:] for key, value in batch.items()})
    torch.testing.assert_close(whole["probability"][4:], ends["probability"])
    assert whole["answer"][4:] == ends["answer"]


@pytest.mark.parametrize("loop", ["validate", "predict"])
@pytest.mark.parametrize("grading", ["score", "generate"])
def test_lightnings_loops(module: LlavaGrader, sizes: list[int], loop: str, grading: str) -> None:
    module.set_grading_mode(grading)
    loader = torch.utils.data.DataLoader([batch_of(9)], batch_size=None)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    getattr(trainer, loop)(module, loader)
    module.set_grading_mode("score")
    assert set(sizes) == {4, 1}
