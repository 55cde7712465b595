"""Masked autoencoding of pixels, the baseline of this study: what `lightly` gives, on an encoder of retinai.

    pip install ".[baselines]"
    RETINAI_PLUGINS=pixel_mae PYTHONPATH=experiments/token_reconstruction retinai train \
      +experiment=token_reconstruction_idrid model._target_=pixel_mae.PixelMae model.name=pixel_mae ...

A share of the cells of the encoder's last map is hidden, and a small transformer says what pixels were there. Masks,
patches, their normalisation and the transformer are lightly's (He et al., "Masked Autoencoders Are Scalable Vision
Learners", CVPR 2022); data, optimiser, schedule, choice of the epoch and the encoder's file are those of Token
Reconstruction, so that the two differ in what is learned alone. A convolutional network cannot leave hidden cells out
as a transformer does: they are set to zero after its first layer, as Token Reconstruction's replaced cells are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightly.models.modules.masked_autoencoder_timm import MAEDecoderTIMM
from lightly.models.utils import (
    get_at_index,
    mask_at_index,
    normalize_mean_var,
    patchify,
    random_token_mask,
)
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from retinai.encoders.encoder import Encoder, build_encoder
from retinai.modules.base import BaseModule
from retinai.modules.divergence import stop_if_diverged
from retinai.modules.stages import Stage
from retinai.pretraining.module import TokenReconstruction
from retinai.pretraining.stages import Curves, EncoderFile
from retinai.pretraining.tokens import tokens_of

# Share of hidden cells: that of masked convolutional networks (Tian et al., "SparK", ICLR 2023). MAE's 75 % is for 196
# patches; of the few cells of a small photograph it would leave four.
HIDDEN = 0.6
WIDTH, DEPTH, HEADS = 256, 2, 8


class MaskedPixels(nn.Module):
    """An encoder and lightly's decoder, which says from visible cells what pixels lie at the hidden ones.

    Args:
        encoder: With its start weights.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        side = encoder.preprocessing.input_size
        with torch.no_grad():
            self.grid = tokens_of(encoder.eval(), torch.zeros(1, 3, side, side)).grid
        self.patch = side // self.grid[0]
        self.decoder = MAEDecoderTIMM(
            num_patches=self.grid[0] * self.grid[1],
            patch_size=self.patch,
            embed_dim=encoder.num_channels,
            decoder_embed_dim=WIDTH,
            decoder_depth=DEPTH,
            decoder_num_heads=HEADS,
        )

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return the pixels at hidden cells as the decoder says them, (B, H, 3 P^2).

        Args:
            images: Normalised photographs, (B, 3, S, S).
            hidden: Numbers of the hidden cells counted from 1, (B, H); 0 is the class token of the decoder.
        """
        missing = torch.zeros(len(images), self.grid[0] * self.grid[1], dtype=torch.bool, device=images.device)
        missing.scatter_(1, hidden - 1, value=True)
        seen = tokens_of(self.encoder, images, missing.view(-1, *self.grid)).cells
        visible = seen.masked_fill(missing.unsqueeze(-1), 0).sum(dim=1, keepdim=True)
        whole = visible / (~missing).sum(dim=1).view(-1, 1, 1)  # a map has no class token: the mean takes its place
        tokens = self.decoder.embed(torch.cat([whole, seen], dim=1))
        tokens = mask_at_index(tokens, hidden, self.decoder.mask_token)
        return self.decoder.predict(get_at_index(self.decoder.decode(tokens), hidden))


class PixelMae(TokenReconstruction):
    """Adapts an encoder by masked autoencoding; data, stages and checkpoints are those of `TokenReconstruction`."""

    def build_network(self) -> nn.Module:
        """Return encoder and decoder."""
        return MaskedPixels(build_encoder(self.hparams["backbone"]))

    def stages(self) -> Sequence[Stage]:
        """Write the encoder and its curves."""
        return (EncoderFile(), Curves())

    def describe_learning(self) -> Iterator[tuple[str, str]]:
        """Yield what is hidden."""
        yield "hidden cells", f"{HIDDEN:.0%} of each photograph, patches of {self.network.patch} pixels"

    def on_fit_start(self) -> None:
        """Switch to training mode; there are no tokens of a reference to keep."""
        BaseModule.on_fit_start(self)
        self._reference().to(self.device)

    def pixel_loss(self, images: Tensor) -> Tensor:
        """Return the mean squared error of the pixels at hidden cells, each patch normalised; a scalar."""
        count = self.network.grid[0] * self.network.grid[1]
        _, hidden = random_token_mask((len(images), count + 1), mask_ratio=HIDDEN, device=images.device)
        truth = normalize_mean_var(get_at_index(patchify(images, self.network.patch), hidden - 1))
        return mse_loss(self.network(images, hidden).float(), truth.float())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.pixel_loss(batch["image"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["id"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss, the same cells hidden in each epoch, and keep features of whole photographs."""
        images = batch["image"]
        text = f"{self.seed}/validation/{batch_idx}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))
            loss = self.pixel_loss(images)
        stop_if_diverged(self, loss, "val/loss", batch_idx)
        self.log("val/loss", loss, on_epoch=True, prog_bar=True, batch_size=len(images))
        target = self._reference().tokens(images)
        self._features.append((tokens_of(self.network.encoder, images).pooled.float(), target.pooled.float()))
