"""Where the network computes in bfloat16, its logits, losses and fitted cut-offs do not."""

from __future__ import annotations

import lightning
import pytest
import torch
from module_factory import make_classifier, make_loader, section

from retinai.losses.base import losses_for
from retinai.losses.regression import GradeRegression
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

CASES = [(task, name) for task in (DR_GRADE, ODIR_COURSE) for name in losses_for(task)]


@pytest.mark.parametrize(("task", "name"), CASES, ids=lambda x: x if isinstance(x, str) else x.kind)
def test_losses_see_float32_under_bf16_mixed(task, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_classifier(task, loss=section("loss", name), num_samples=16)
    seen: list[torch.dtype] = []
    forward, convolve = type(module.criterion).forward, module.network.encoder.register_forward_hook
    insides: list[torch.dtype] = []
    convolve(lambda _, __, features: insides.append(features.dtype))

    def spy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(logits.dtype)
        return forward(self, logits, targets)

    monkeypatch.setattr(type(module.criterion), "forward", spy)
    loader = make_loader(task)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", precision="bf16-mixed", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, limit_train_batches=1,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    assert set(seen) == {torch.float32} and set(insides) == {torch.bfloat16}
    assert torch.isfinite(trainer.callback_metrics["val/loss"])


def test_grades_as_numbers_are_finer_than_bfloat16_under_autocast() -> None:
    module = make_classifier(loss=section("loss", "regression")).eval()
    assert isinstance(module.criterion, GradeRegression)
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        grades = module.criterion.grades(module(images))
    assert grades.dtype == torch.float32
    assert (grades != grades.bfloat16().float()).any()


def test_an_exported_graph_is_that_of_float32() -> None:
    module = make_classifier().eval()
    images = torch.randn(2, 3, 32, 32)
    graph = torch.export.export(module.network, (images,))
    assert "autocast" not in str(graph.graph)
    torch.testing.assert_close(graph.module()(images), module(images))
