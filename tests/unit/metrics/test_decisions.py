"""One rule for arrays and tensors, and what it says of a probability of exactly one half."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retinai.metrics.decisions import RULES, decide

HALVES = np.array([[0.5, 0.5, 0.0], [0.5, 0.2, 0.3], [0.0, 0.5, 0.5], [0.3, 0.2, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("argmax", [0, 0, 1, 2, 0]),
        ("median", [0, 0, 1, 1, 0]),
        ("threshold", [[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_arrays_and_tensors_are_decided_alike_also_at_one_half(rule: str, expected: list, dtype: torch.dtype) -> None:
    assert decide(HALVES, rule).tolist() == expected
    decided = decide(torch.from_numpy(HALVES[:, :]).to(dtype).requires_grad_(), rule)
    if dtype is not torch.bfloat16:  # which has no 0.2
        assert decided.tolist() == expected
    assert decided.dtype == torch.int64 and decide(HALVES.astype(np.float32), rule).dtype == np.int64


@pytest.mark.parametrize("rule", RULES)
def test_arrays_and_tensors_are_decided_alike(rule: str) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 500).astype(np.float32)
    np.testing.assert_array_equal(decide(torch.from_numpy(rows), rule).numpy(), decide(rows, rule))


def test_an_unknown_rule_is_refused() -> None:
    for probabilities in (HALVES, torch.from_numpy(HALVES)):
        with pytest.raises(ValueError, match="'coin' is unknown; valid: argmax, median, threshold"):
            decide(probabilities, "coin")
