"""The CPU: which vector instructions it has, and what they mean for the grades of a quantised network.

int8 engines multiply activations of 0 to 255 with signed weights. CPUs with VNNI (AVX-512 VNNI, AVX-VNNI) or AMX add
the products in 32 bits. Other x86 CPUs add them in pairs in 16 bits (the instruction VPMADDUBSW), and a sum beyond
32,767 is cut off there: 255 * 127 + 255 * 127 = 64,770 becomes 32,767. With weights of at most 64 no pair exceeds
255 * 64 + 255 * 64 = 32,640. See ONNX Runtime's documentation, "Quantize ONNX models", on `reduce_range` and U8S8.
"""

from __future__ import annotations

import functools
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retinai.errors import MissingExtraError

# What low precision depends on, in the names of Linux.
INSTRUCTIONS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16",
)  # fmt: skip
_SUMS_IN_32_BITS = {"avx_vnni", "avx512_vnni", "amx_int8"}
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
_X86 = {"x86_64", "AMD64", "i386", "i686"}
_OTHER_NAMES = {"avxvnni": "avx_vnni", "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16"}


class CpuWarning(UserWarning):
    """A folder grades on a CPU of another kind than the one it was checked on."""


@dataclass(frozen=True)
class Cpu:
    """A CPU.

    Args:
        name: As its maker calls it.
        machine: Its family, `x86_64` or `aarch64` or as the system calls it.
        instructions: Those of `INSTRUCTIONS` that it has.
    """

    name: str
    machine: str
    instructions: tuple[str, ...]

    @classmethod
    def from_dict(cls, facts: Any) -> Cpu | None:
        """Return the CPU that `model.json` names; None if it names none, as folders of earlier versions do."""
        if not isinstance(facts, Mapping) or not isinstance(facts.get("instructions"), list):
            return None
        return cls(str(facts.get("name")), str(facts.get("machine")), tuple(map(str, facts["instructions"])))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"name": self.name, "machine": self.machine, "instructions": list(self.instructions)}

    def __str__(self) -> str:
        """Return the name with the instructions."""
        return f"{self.name} ({', '.join(self.instructions) or self.machine})"

    def saturates(self) -> bool:
        """Return whether int8 engines add pairs of products in 16 bits here."""
        return self.machine in _X86 and _SUMS_IN_32_BITS.isdisjoint(self.instructions)

    def arithmetic(self, precision: str) -> str:
        """Return how this CPU computes a network, in words.

        Args:
            precision: `fp32`, `bf16` or `int8`.
        """
        if precision == "bf16":
            return "float32, without bfloat16" if _BFLOAT16.isdisjoint(self.instructions) else "bfloat16"
        if precision == "int8" and self.machine in _X86:
            return "int8 without VNNI" if self.saturates() else "int8 with VNNI or AMX"
        return f"{'int8' if precision == 'int8' else 'float32'} of {self.machine}"


@functools.cache
def this_cpu() -> Cpu:
    """Return the CPU that this process runs on.

    Raises:
        MissingExtraError: If archspec, which knows how each system tells, is not installed.
    """
    try:
        from archspec.cpu import brand_string
        from archspec.cpu.detect import detected_info
    except ModuleNotFoundError:
        raise MissingExtraError("archspec", "runtime") from None
    # `archspec.cpu.host()` would name the best architecture of its list that fits, and with it leave out
    # instructions that a virtual machine has and the listed architecture has not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a system that tells nothing; then no instruction is known
        features = {_OTHER_NAMES.get(str(name), str(name)) for name in detected_info().features}
        name = brand_string()
    known = tuple(instruction for instruction in INSTRUCTIONS if instruction in features)
    return Cpu((name or platform.processor() or platform.machine()).strip(), platform.machine(), known)


def cpu_notes(precision: str, checked: Cpu | None, reduced: bool, cpu: Cpu | None = None) -> list[str]:
    """Return what somebody should know who grades on another kind of CPU than a folder was checked on.

    Args:
        precision: Of the folder.
        checked: The CPU on which it was compared with its checkpoint; None if the folder does not say.
        reduced: Whether its int8 weights keep to 7 bits.
        cpu: The CPU that grades; None: this one.

    Returns:
        Sentences; none for fp32, whose results differ by rounding only, and for a CPU that computes alike.
    """
    if precision == "fp32":
        return []
    cpu = cpu or this_cpu()
    ours = cpu.arithmetic(precision)
    advice = "grade photographs whose grades you know before you rely on it"
    if precision == "int8" and cpu.saturates() and not reduced:
        return [
            f"this CPU, {cpu}, has no VNNI, and the folder's int8 weights take 8 bits: sums can be cut off and grades "
            "be wrong; export it with int8_reduce_range=true, or use fp32"
        ]
    if checked is None:
        return [f"the folder does not say on which CPU its {precision} was checked; {advice}"]
    if checked.arithmetic(precision) != ours:
        return [
            f"the folder was checked on {checked}, which computes {checked.arithmetic(precision)}; this CPU, {cpu}, "
            f"computes {ours}, for which nobody checked it; {advice}"
        ]
    return []
