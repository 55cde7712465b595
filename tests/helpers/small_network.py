"""The words that choose a network of half a million weights, for tests that train but do not ask how well.

A run with ResNet-18 leaves checkpoints of 260 MB, and the suite makes some hundreds of runs.
"""

from __future__ import annotations

SMALL_NETWORK = ("backbone=resnet18", "backbone.architecture=test_resnet", "backbone.weights=none")
