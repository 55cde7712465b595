"""Which encoder and which photographs a configuration asks for."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig

from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.label_table import check_files
from retinai.embeddings.extract import Request
from retinai.encoders.checkpoint_encoder import encoder_of_checkpoint
from retinai.encoders.encoder import Encoder, build_encoder
from retinai.errors import ConfigError
from retinai.prediction.photographs import Photographs, find_photographs
from retinai.run.factories import make_datamodule, plain, preprocessing_of


def check_choice(cfg: DictConfig) -> None:
    """Refuse a configuration that does not name one encoder and one set of photographs.

    Raises:
        ConfigError: Says which words are needed.
    """
    problems = []
    if (cfg.ckpt is None) == (cfg.get("backbone") is None):
        problems.append("give either backbone= (with backbone.weights=) or ckpt= (a trained checkpoint)")
    if (cfg.images is None) == (cfg.get("data") is None):
        problems.append("give either data= (a data set) or images= (a folder, a file or a pattern)")
    if problems:
        raise ConfigError(problems)


def open_encoder(cfg: DictConfig) -> tuple[Encoder, Preprocessing]:
    """Build the encoder, and say how it sees photographs.

    A checkpoint's encoder prepares photographs as in its training; another one takes crop and contrast from the data
    section.

    Raises:
        UserError: If weights cannot be had or do not fit.
    """
    if cfg.ckpt is not None:
        encoder = encoder_of_checkpoint(str(cfg.ckpt))
        return encoder, encoder.preprocessing
    section = plain(cfg.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # an encoder without weights, as a control, is the same each time
        encoder = build_encoder(section)
    return encoder, preprocessing_of(section, {} if cfg.get("data") is None else plain(cfg.data))


def make_request(cfg: DictConfig, preprocessing: Preprocessing) -> Request:
    """Return what is to be embedded: every photograph of a data set, labelled or not, or loose files.

    Raises:
        UserError: If the photographs cannot be found.
    """
    options: dict[str, Any] = {
        key: cfg[key] for key in ("dtype", "batch_size", "num_workers", "accelerator") if cfg[key] is not None
    }
    options["checkpoint"] = "" if cfg.ckpt is None else str(cfg.ckpt)
    if cfg.get("data") is None:
        return Request(find_photographs(str(cfg.images)), preprocessing, **options)
    datamodule = make_datamodule(cfg, preprocessing)
    table = datamodule.checked_table()
    check_files(table, datamodule.root)
    photographs = Photographs(table["id"].tolist(), table["path"].tolist())
    cache = PreparedCache(cfg.paths.cache, preprocessing)
    task = datamodule.task
    labels = {name: ", ".join(task.label_names(t)) for name, t in zip(table["id"], table["target"], strict=True)}
    return Request(photographs, preprocessing, cache=cache, data=str(datamodule.name), labels=labels, **options)
