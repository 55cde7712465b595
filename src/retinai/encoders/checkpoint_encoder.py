"""The encoder of a trained checkpoint: for embeddings, and as the start of a new run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from retinai.config.build import settings_from
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.checkpoint_metadata import read_metadata
from retinai.encoders.encoder import Encoder, build_encoder
from retinai.encoders.lora import merge_adapters
from retinai.encoders.tuning import ENCODER, NET, EncoderTuning, TuningSettings, hash_tensors
from retinai.encoders.weights import LoadReport, read_checkpoint
from retinai.errors import CheckpointError, ConfigError

# Where a module keeps its network.
_NETWORK = "network."


def encoder_of_checkpoint(path: str | Path) -> Encoder:
    """Return the encoder of a trained checkpoint, in evaluation mode on the CPU.

    It is the encoder alone, as training left it: adapters are merged into its weights, attention, branches and head
    of the checkpoint are left out. Its `preprocessing` is that of the run. With weight averaging the averaged
    weights are the ones loaded.

    Args:
        path: A checkpoint of retinai whose model has an encoder.

    Raises:
        CheckpointError: If the file is missing, damaged, hostile, no checkpoint of retinai, or has no encoder.
        UserError: If frozen weights that the checkpoint leaves out cannot be had again.
    """
    return encoder_of_content(read_checkpoint(path), f"checkpoint {path}")


def encoder_of_content(content: Mapping[str, Any], name: str) -> Encoder:
    """Return the encoder of what `read_checkpoint` gave.

    Args:
        content: Content of a checkpoint of retinai.
        name: The file, for errors.

    Raises:
        CheckpointError: If it has no encoder, or its weights are of another network.
        UserError: If frozen weights that it leaves out cannot be had again.
    """
    metadata = read_metadata(content, name)
    hparams, frozen = metadata["hparams"], metadata["frozen"]
    try:
        # Frozen weights that the checkpoint leaves out are fetched again; all others are in it.
        start = {} if frozen else {"weights": "none"}
        encoder = build_encoder({**_section(hparams, "backbone"), **start})
        frozen_keys, _ = _tuning(hparams).adapt(encoder)
    except ConfigError as error:
        raise CheckpointError(
            f"{name} has no encoder of its own that can be built: it is of model={metadata['model']} ({error}); give a "
            "checkpoint of a model with an encoder, such as model=classifier"
        ) from error
    prefix = f"{_NETWORK}{ENCODER}"
    state = {key.removeprefix(prefix): value for key, value in content["state_dict"].items() if key.startswith(prefix)}
    own = encoder.state_dict()
    if frozen:
        keys = [f"{_NETWORK}{NET}{key}" for key in frozen_keys]
        if hash_tensors({f"{prefix}{key}": value for key, value in own.items()}, keys) != frozen["sha256"]:
            raise CheckpointError(
                f"{name} leaves out the frozen weights of backbone {encoder.name!r}, and those at hand differ from the "
                "ones it was trained with (SHA-256)"
            )
        left_out = {key.removeprefix(prefix) for key in keys}
        state = {**{key: value for key, value in own.items() if key in left_out}, **state}
    _check(state, own, name)
    encoder.load_state_dict(state)
    merge_adapters(encoder)
    encoder.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
    encoder.load_report = LoadReport(name, matched=list(own))
    encoder.weights = str(_section(hparams, "backbone").get("weights", "none"))
    return encoder.to(memory_format=encoder.memory_format).eval()


def _tuning(hparams: Mapping[str, Any]) -> EncoderTuning:
    # A model without such a section, as in pre-training, trains all of its encoder.
    section = _section(hparams, "tuning") if "tuning" in hparams else {}
    return settings_from(section, TuningSettings, EncoderTuning)


def _section(hparams: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = hparams.get(name)
    if not isinstance(section, Mapping):
        raise ConfigError([f"it has no {name} section"])
    return dict(section)


def _check(state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights that are not those of the encoder that the checkpoint describes."""
    wrong = set(state) ^ set(own) or {key for key in own if state[key].shape != own[key].shape}
    if wrong:
        raise CheckpointError(
            f"{name}: {len(wrong)} tensors of its encoder are missing, too many or of another shape "
            f"(first {min(wrong)!r}); use a checkpoint as retinai wrote it"
        )
