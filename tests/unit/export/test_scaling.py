"""The temperature inside a graph is that of `scale`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retinai.export.scaling import scaled
from retinai.prediction.calibration.temperature import scale


@pytest.mark.parametrize("scaling", ["softmax", "cumulative", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.7])
def test_probabilities_are_those_of_the_numpy_form(scaling: str, temperature: float) -> None:
    generator = np.random.default_rng(0)
    drawn = generator.random((200, 5)) if scaling == "sigmoid" else generator.dirichlet(np.full(5, 0.3), 200)
    given = np.concatenate([drawn, np.eye(5)]).astype(np.float32)
    found = scaled(torch.from_numpy(given), {"temperature": temperature, "scaling": scaling}).numpy()
    np.testing.assert_allclose(found, scale(given, temperature, scaling), atol=1e-5)
    assert torch.equal(scaled(torch.from_numpy(given), None), torch.from_numpy(given))
