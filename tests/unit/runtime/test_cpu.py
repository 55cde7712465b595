"""Which CPUs a quantised folder was checked for, and what is said on others."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import pytest

from retinai.errors import MissingExtraError
from retinai.runtime import cpu
from retinai.runtime.cpu import Cpu, cpu_notes, this_cpu

VNNI = Cpu("Xeon", "x86_64", ("avx2", "avx512f", "avx512_vnni"))
LAPTOP = Cpu("Core 12", "AMD64", ("avx2", "avx_vnni"))  # as Windows calls the family
OLD = Cpu("Core 7", "x86_64", ("avx2",))
ARM = Cpu("Apple M1", "arm64", ())
BF16 = Cpu("EPYC", "x86_64", ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"))


@pytest.mark.parametrize(
    ("precision", "checked", "reduced", "here", "said"),
    [
        ("fp32", VNNI, False, OLD, None),
        ("fp32", None, False, ARM, None),
        ("int8", VNNI, False, LAPTOP, None),  # both add in 32 bits
        ("int8", OLD, True, OLD, None),
        ("int8", VNNI, True, OLD, "int8 without VNNI, for which nobody checked it"),
        ("int8", OLD, True, VNNI, "int8 with VNNI or AMX, for which nobody checked it"),
        ("int8", VNNI, False, OLD, "grades be wrong; export it with int8_reduce_range=true"),
        ("int8", OLD, False, OLD, "grades be wrong"),  # what was checked there was wrong already
        ("int8", VNNI, True, ARM, "int8 of arm64"),
        ("int8", None, True, VNNI, "does not say on which CPU"),
        ("bf16", BF16, False, BF16, None),
        ("bf16", BF16, False, VNNI, "float32, without bfloat16"),
        ("bf16", VNNI, False, BF16, "computes bfloat16"),
    ],
)
def test_what_is_said_on_another_cpu(
    precision: str, checked: Cpu | None, reduced: bool, here: Cpu, said: str | None
) -> None:
    notes = cpu_notes(precision, checked, reduced, here)
    assert len(notes) == (said is not None)
    if said is not None:
        assert said in notes[0] and "\n" not in notes[0]


def test_a_cpu_goes_through_json() -> None:
    assert Cpu.from_dict(LAPTOP.to_dict()) == LAPTOP
    assert Cpu.from_dict(None) is None and Cpu.from_dict({"name": "x"}) is None


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the system tells otherwise")
def test_this_cpu_has_the_instructions_that_the_system_tells() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith(("flags", "Features"))).split()
    assert list(this_cpu().instructions) == [name for name in cpu.INSTRUCTIONS if name in flags]
    assert this_cpu().name


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "archspec.cpu", None)
    with pytest.raises(MissingExtraError, match="archspec"):
        this_cpu.__wrapped__()


def test_a_system_that_tells_nothing_counts_as_an_old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from archspec.cpu import detect

    def nothing() -> types.SimpleNamespace:
        warnings.warn("cannot read", stacklevel=1)
        return types.SimpleNamespace(features=set())

    monkeypatch.setattr(detect, "detected_info", nothing)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert this_cpu.__wrapped__().saturates()
