"""The kinds of values that sections share, and the base of all sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Default of every field: a section is checked as it was composed, so a key that is not there is not looked at.
UNSET: Any = None


class Section(BaseModel):
    """One section of the configuration: a field per key, its annotation says what is allowed.

    Types are strict (`"3"` is no number, `true` is no 1) and numbers finite. Unknown keys are refused, except
    where the section builds a class: there its signature says which keys it takes.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    builds: ClassVar[tuple[str, ...]] = ()
    # Why a value is not allowed (`key=value`), and what to use instead of a key that others may look for.
    reasons: ClassVar[dict[str, str]] = {}
    instead: ClassVar[dict[str, str]] = {}

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence for each pair of values that contradict each other.

        Args:
            values: The values of the section that are allowed by themselves; a key that is not is not here.
        """
        yield from ()


class BuiltSection(Section):
    """A section with `_target_`, bound to a signature, which also refuses keys that it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _as_text(value: object) -> object:
    """Return a whole number as text: Hydra reads `run_dir=2024` as a number, but a folder is meant."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Path = Annotated[
    str, BeforeValidator(_as_text), Field(pattern=r"\A[^\x00]*\S[^\x00]*\z", description="a path, not empty")
]
Text = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"\S", description="a text, not empty")]
# Run folders are named after it.
Name = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(pattern=r"\A[\w.+-]+\z", description="a name of letters, digits and . _ + -"),
]
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Workers = Literal["auto"] | Annotated[int, Field(ge=0, le=1024)]
ThreeNumbers = Annotated[list[float], Field(min_length=3, max_length=3)]
# Synthetic photographs: the patients of a cohort are held in memory.
CohortSize = Annotated[int, Field(ge=1, le=10**6)]
# Whose folder tree a synthetic cohort has.
Layout = Literal["aptos", "idrid", "odir", "odir_kaggle", "odir_course", "eyepacs", "messidor2", "ddr", "brset"]
Pixels = Annotated[int, Field(ge=16, le=4096)]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
