"""Weights from elsewhere: one function that loads them, tells what it did, and raises on what it cannot explain."""

from __future__ import annotations

import argparse
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retinai.encoders.checkpoint_content import first_not_finite, take_hash
from retinai.encoders.checkpoint_metadata import KEY
from retinai.errors import CheckpointError
from retinai.files import place_fault

# Fewer tensors of the network than this in a file means that the file is of another network.
MINIMUM_MATCH = 0.95
# Wrappers that training scripts put around a state dict, and prefixes that they put before its keys.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "teacher", "net", "state_dict_ema")
_PREFIXES = ("", "module.", "model.", "backbone.", "module.model.", "module.backbone.", "model.backbone.",
             "vision_model.model.")  # fmt: skip
# Tensors that older files carry although today's networks compute them, and beginnings of those of pre-training.
_COMPUTED = ("relative_position_index", "attn_mask")
_PRETRAINING_ONLY = ("mask_token", "decoder_", "dino_head.", "ibot_head.")
# Names and tensors of a file in those of a network: timm's `checkpoint_filter_fn`.
Convert = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


@dataclass
class LoadReport:
    """What happened to each tensor when weights were loaded.

    Args:
        source: Where the weights came from.
        matched: Keys whose tensor was taken as it was (renamed ones included).
        renamed: Key in the file to key in the network, where they differ.
        resized: Keys whose tensor was computed from the file's (interpolated position embeddings), with old and new
            shape.
        ignored: Keys of the file that were left out on purpose, with the reason.
        missing: Keys of the network that the file does not hold; only explained ones remain here.
        unexpected: Keys of the file that nothing explains; empty once loading has succeeded.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} matched"]
        for name in ("renamed", "resized", "ignored", "missing", "unexpected"):
            if getattr(self, name):
                parts.append(f"{len(getattr(self, name))} {name}")
        return f"{self.source}: {', '.join(parts)}"


def read_checkpoint(path: str | Path, map_location: Callable | None = None) -> dict[str, Any]:
    """Read a file of weights with PyTorch's safe loader, or a `.safetensors` file.

    Args:
        path: The file.
        map_location: Where tensors go, as `torch.load` takes it; None leaves them on the CPU.

    Returns:
        Its content.

    Raises:
        CheckpointError: If the file is missing, empty or truncated, is no checkpoint, or asks for
            code to be run (refused, nothing is executed); if it is a checkpoint of retinai, also if its content is
            not what was written, or its weights are no finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        reason = "is no file; give one, such as RUN/checkpoints/best.ckpt" if path.exists() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {reason}{'' if path.exists() else '; check the path'}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path} is an empty file; copy or train it again")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            # RETFound and others keep the words of their command beside the weights, in a class that only holds values.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, error)) from error
    except Exception as error:  # torch, zipfile and safetensors each have their own words for a broken file
        if isinstance(error, OSError) and (fault := place_fault(error)):
            raise CheckpointError(f"checkpoint {fault}") from error
        page = _instead_of_weights(path)
        reason = (
            f"is {page}; fetch the file itself"
            if page
            else ("is truncated or damaged and cannot be read; copy or train it again")
        )
        raise CheckpointError(f"checkpoint {path} {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {path} holds a {type(content).__name__} instead of a dictionary of weights")
    return take_hash(content, f"checkpoint {path}") if KEY in content else content


def _refusal(path: Path, error: Exception) -> str:
    """Tell a pickle that names Python objects, and a page instead of a file, from a file that is merely broken."""
    page = _instead_of_weights(path)
    if page:
        return f"checkpoint {path} is {page}; fetch the file itself"
    if "Unsupported global" in str(error) or _names_objects(path):
        return (
            f"checkpoint {path} holds Python objects that could run code, so it was refused and nothing was executed; "
            "use a file that holds only tensors and plain values"
        )
    return f"checkpoint {path} is truncated, damaged or no checkpoint, and cannot be read; copy or train it again"


def _instead_of_weights(path: Path) -> str:
    """Return what a download gave instead of a file; empty if it is neither of what often comes."""
    with path.open("rb") as file:
        start = file.read(1024).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page and no weights, such as the page of a login or of an error"
    if start.startswith(b"version https://git-lfs"):
        return "the note that git keeps in place of a large file (git lfs pull fetches it)"
    return ""


def _names_objects(path: Path) -> bool:
    """Whether a pickle asks for a class or function; its opcodes are read, none is executed."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                content = archive.read(member)
        else:
            content = path.read_bytes()
        return any(opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST") for opcode, _, _ in pickletools.genops(content))
    except Exception:  # not a whole pickle: whatever its opcodes are, it is damaged
        return False


def unwrap_state(content: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Return the state dict inside a file's content.

    Args:
        content: Content of a file: a state dict, or a dictionary that holds one under a usual name.
        source: Name of the file, for the error.

    Raises:
        CheckpointError: If there is no state dict in it.
    """
    inner: Any = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), content)
    state = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{source} holds no weights (keys: {', '.join(map(str, list(inner)[:5])) or 'none'})")
    return state


def load_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    convert: Convert | None = None,
    ignore: Iterable[str] = (),
    may_miss: Iterable[str] = (),
) -> LoadReport:
    """Load weights into a network and report each tensor; whatever has no explanation raises.

    Prefixes such as `module.` or `backbone.` are taken off, then `convert` gives names and shapes of the network,
    and heads named in `ignore` are left out. timm's own `load_checkpoint` converts in the same way, but says nothing
    of what it left out, and can only accept every missing tensor or none.

    Args:
        module: The network.
        state: State dict from elsewhere.
        source: Where it came from, for the report and the error.
        convert: Named tensors of a file, without prefix, and the network to the network's own.
        ignore: Prefixes of keys to leave out (classification heads).
        may_miss: Prefixes of keys that the file may lack and that then stay as initialised.

    Returns:
        The report, with nothing unexpected in it.

    Raises:
        CheckpointError: If keys are missing or unexpected without explanation, a shape differs, less than 95 % of
            the network's tensors are in the file, or values are no finite numbers.
    """
    own = module.state_dict()
    report = LoadReport(source)
    given, old_keys = _plain_names(state, own, report)
    found = _converted(given, module, convert, report)
    chosen: dict[str, Tensor] = {}
    shapes: list[str] = []
    for key, value in found.items():
        old = old_keys.get(id(value)) or old_keys.get(id(given.get(key))) or key
        explained = _why_ignored(key, tuple(ignore), own)
        if explained:
            report.ignored[old] = explained
        elif key not in own:
            report.unexpected.append(old)
        elif value.shape != own[key].shape:
            shapes.append(f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}")
        else:
            chosen[key] = value
            if id(value) in old_keys:
                report.matched.append(key)
            else:
                report.resized[key] = f"{tuple(given.get(key, value).shape)} to {tuple(value.shape)}"
            if key != old:
                report.renamed[old] = key
    broken = first_not_finite(chosen)
    if broken is not None:
        raise CheckpointError(
            f"weights from {source} are no finite numbers (first {broken!r}); fetch the file again, or use another one"
        )
    report.missing = [key for key in own if key not in chosen]
    _judge(report, own, len(chosen), tuple(may_miss), shapes)
    module.load_state_dict({**own, **chosen})
    return report


def _plain_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], report: LoadReport
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Return the tensors by their name without prefix, and the name in the file of each tensor by its identity."""
    prefix = _best_prefix(state, own)
    given: dict[str, Tensor] = {}
    old_keys: dict[int, str] = {}
    for old, value in state.items():
        key = old.removeprefix(prefix)
        if not old.startswith(prefix):
            report.ignored[old] = f"outside {prefix!r}"
        elif key in given:
            report.unexpected.append(old)
        else:
            given[key] = value
            old_keys[id(value)] = old
    return given, old_keys


def _converted(
    given: dict[str, Tensor], module: nn.Module, convert: Convert | None, report: LoadReport
) -> dict[str, Tensor]:
    """Return the tensors under the network's names; what the conversion leaves out is reported."""
    if convert is None:
        return given
    try:
        found = convert(dict(given), module)  # a copy: timm takes out of it what it has used
    except CheckpointError:
        raise
    except Exception:  # whatever timm makes of the tensors of another network; their names say it better
        return given
    kept = {id(value) for value in found.values()}
    for key, value in given.items():
        if key not in found and id(value) not in kept:
            report.ignored[key] = "has no place in this architecture, by timm"
    return found


def _best_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return the usual prefix under which most of the network's keys are found."""
    return max(_PREFIXES, key=lambda prefix: sum(prefix + key in state for key in own))


def _why_ignored(key: str, ignore: tuple[str, ...], own: Mapping[str, Tensor]) -> str:
    if ignore and key.startswith(ignore) and key not in own:
        return "classification head"
    if key not in own and key.rpartition(".")[2] in _COMPUTED:
        return "computed by the network"
    if key not in own and key.startswith(_PRETRAINING_ONLY):
        return "used in pre-training only"
    return ""


def _judge(
    report: LoadReport, own: Mapping[str, Tensor], loaded: int, may_miss: tuple[str, ...], shapes: list[str]
) -> None:
    """Raise on whatever the report does not explain."""
    # Files from before 2018 lack the step counters of batch normalisation; only momentum=None reads them.
    counters = [key for key in report.missing if key.endswith("num_batches_tracked")]
    unexplained = [k for k in report.missing if k not in counters and not (may_miss and k.startswith(may_miss))]
    faults = []
    if shapes:
        faults.append(f"{len(shapes)} tensors of another shape (first {shapes[0]})")
        unexplained = [k for k in unexplained if not any(s.startswith(k + " ") for s in shapes)]
    if unexplained:
        faults.append(f"{len(unexplained)} of {len(own)} tensors missing (first {unexplained[0]!r})")
    if report.unexpected:
        faults.append(f"{len(report.unexpected)} unexpected keys (first {report.unexpected[0]!r})")
    if not faults and loaded + len(counters) < MINIMUM_MATCH * len(own):
        faults.append(f"only {loaded} of {len(own)} tensors are in it, {MINIMUM_MATCH:.0%} are needed")
    if faults:
        raise CheckpointError(
            f"weights from {report.source} do not fit this network: {'; '.join(faults)}; "
            "choose the architecture that the file was made with"
        )
