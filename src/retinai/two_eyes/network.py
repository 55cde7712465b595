"""The network of both eyes: one encoder reads each of them, and the head reads what it gives of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from retinai.encoders.encoder import Encoder
from retinai.modules.image_classifier import ImageClassifier


class TwoEyesClassifier(ImageClassifier):
    """Logits of one eye from the features of both: z = [f(this); f(other)], with the same weights f for both.

    In the place of a missing eye's features stands a vector that is learned. Which eye is the left one does not
    enter. Branches, hidden layer and head read z as they read the features of one photograph.

    Args:
        encoder: Turns photographs into features.
        *options: Of `ImageClassifier`.
        **more: Of `ImageClassifier`.
    """

    def __init__(self, encoder: Encoder, *options: Any, **more: Any) -> None:
        super().__init__(encoder, *options, **more)
        self.missing = nn.Parameter(torch.zeros(encoder.num_features))

    def pooled_width(self, encoder: Encoder) -> int:
        """Return the width of the features of both eyes side by side."""
        return 2 * encoder.num_features

    def forward(self, images: Tensor, other: Tensor, *values: Any) -> Tensor:
        """Return logits, float32, shape (B, num_outputs).

        Args:
            images: Normalised photographs of the eyes that are asked about, (B, 3, S, S).
            other: Those of the patients' other eyes, (B, 3, S, S), NaN where there is none.
            *values: What each of the branches reads, in their order.
        """
        there = ~other[:, 0, 0, 0].isnan()
        rows = there.nonzero()[:, 0]
        # The eye that is asked about comes last: what watches the encoder (maps) keeps its features.
        features = self.missing.expand(len(images), -1)
        if len(rows):
            # Missing eyes do not pass the encoder: batch norm would count them.
            seen = self.pooled(other[rows])
            features = features.to(seen.dtype).index_copy(0, rows, seen)
        own = self.pooled(images)
        return self.classify(torch.cat([own, features.to(own.dtype)], dim=1), *values)
