"""Errors that are the user's to mend: one sentence that says what, where, and how.

The command line prints such an error without a traceback and exits with code 2. Anything else
that escapes is a defect of retinai and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A fault in what the user gave: a file, a key, a value, a combination."""


class ConfigError(UserError):
    """One or more faults in a composed configuration, all told at once.

    Args:
        problems: One sentence per fault.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"- {p}" for p in self.problems) if len(self.problems) > 1 else self.problems[0])


class DataError(UserError):
    """A fault in a data set: a missing root, a wrong table, a label out of range."""


class DataFileError(DataError):
    """A file of a data set that is missing or damaged.

    Args:
        what: Which, and what is wrong with it.
        mend: How it is mended where the owner gave the data set; a drawn one tells another way.
    """

    def __init__(self, what: str, mend: str) -> None:
        self.what = what
        super().__init__(f"{what}; {mend}")


class CheckpointError(UserError):
    """A checkpoint that cannot be used: truncated, hostile, or of another task or network."""


# Import names of optional packages, and the extra of retinai that brings each.
_EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "torch", "torchvision", "lightning", "timm", "torchmetrics", "albumentations", "pandera", "openpyxl", "sklearn",
        "scipy", "iterstrat", "imagehash", "coral_pytorch", "safetensors", "matplotlib", "jinja2", "wandb",
        "peft",
    ),
    "llava": ("transformers", "bitsandbytes", "accelerate", "tokenizers"),
    "topology": ("gudhi",),
    "runtime": ("onnxruntime", "openvino"),
    "export": ("onnx", "onnxscript", "nncf"),
    "benchmark": ("trl",),
    "explain": ("captum",),
    "tensorboard": ("tensorboardX",),
    "search": ("optuna",),
    "slurm": ("submitit", "hydra_plugins"),
    "ray": ("ray", "pyarrow", "fsspec"),
    "vessels": ("skimage",),
    "dicom": ("pydicom",),
    "app": ("gradio", "fastapi", "uvicorn"),
    "dashboard": ("plotly", "wandb_workspaces"),
}  # fmt: skip


class MissingExtraError(UserError):
    """An optional package that is not installed.

    Args:
        package: The import name that is missing.
        extra: The extra of retinai that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; mend with: pip install "retinai[{extra}]"')


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return the pip line for a package that could not be imported; None if it belongs to no extra.

    Args:
        error: What Python raised.
    """
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in _EXTRAS.items() if package in packages), None)
    return None if extra is None else MissingExtraError(package, extra)
