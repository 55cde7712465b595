"""Networks in the format of transformers, from a folder or the hub; what is wrong with one is one clause."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from retinai.encoders.checkpoint_content import first_not_finite
from retinai.errors import MissingExtraError
from retinai.files import UnreadableError, check_regular, told

_LONGEST = 300
# Files in which tokenizers keep their vocabularies.
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def read_part(loader: str, source: str | Path, **options: Any) -> Any:
    """Return a part of a network, such as its configuration, as transformers reads it.

    No code of a model's repository is run. Pipes and devices in a folder, which may never end, are refused without
    being read.

    Args:
        loader: Name of a class of transformers, such as `AutoModel`.
        source: A folder, or a name on the hub.
        **options: Of its `from_pretrained`.

    Raises:
        MissingExtraError: If transformers is not installed.
        UnreadableError: If it cannot be read, or holds weights that are no finite numbers; says why.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "llava") from error
    folder = Path(source).expanduser()
    if folder.is_dir():
        _check_files(folder)
        if loader == "AutoTokenizer" and "gguf_file" not in options:
            _check_tokenizer(folder)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    given = str(folder) if folder.is_dir() else str(source)
    try:
        part = getattr(transformers, loader).from_pretrained(given, **{"trust_remote_code": False, **options})
    except Exception as error:  # its readers raise nearly anything on a damaged or wrong file
        raise UnreadableError(_reason(error)) from error
    if isinstance(part, nn.Module) and (key := first_not_finite(part.state_dict())):
        raise UnreadableError(f"its weights are no finite numbers (first {key!r})")
    return part


def _check_tokenizer(folder: Path) -> None:
    """Refuse a folder without a vocabulary: transformers would make a tokenizer that knows no word of it."""
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise UnreadableError(f"there is no tokenizer (looked for {', '.join(_VOCABULARIES)})")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:_LONGEST]
    # What transformers and PyTorch tell programmers to do instead is nothing that a user of retinai can or should do.
    if "ignore_mismatched_sizes" in text:
        return "its weights have other shapes than its config.json says"
    if "trust_remote" in text or "custom code" in text:
        return "it needs Python code of its own, which is not run"
    if "weights_only" in text:
        return "its weights hold Python objects that could run code, so they were refused and nothing was executed"
    return text or type(error).__name__


def _check_files(folder: Path) -> None:
    """Refuse what is no file beside the network's files; folders and links to nothing are passed over."""
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry.path) for entry in entries if not entry.is_dir()]
    except OSError as error:
        raise UnreadableError(f"the folder cannot be searched ({told(error)})") from error
    for path in paths:
        try:
            check_regular(path)
        except FileNotFoundError:
            continue
        except UnreadableError as error:
            raise UnreadableError(f"{path.name} is {error.reason}") from error
