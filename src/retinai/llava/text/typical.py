"""What photographs of a grade usually have, so that an answer can be filled in by its grade alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from retinai.errors import DataError
from retinai.lesions.findings import LESION_NAMES, QUADRANTS, Findings, LesionFinding

_LEAST_AREA = 1e-4


@dataclass(frozen=True)
class TypicalFindings:
    """The findings that are typical of each grade on annotated training photographs.

    Args:
        grades: Per grade the lesions that at least half of its photographs have, each with the median of count and
            area and the quadrants that half of those with the lesion name (else the most frequent one).
        lesions: The same per lesion over all grades.
    """

    grades: Mapping[int, Findings]
    lesions: Mapping[str, LesionFinding]

    @classmethod
    def of(cls, findings: Mapping[str, Findings], grades: Mapping[str, int]) -> TypicalFindings | None:
        """Return what is typical of photographs.

        Args:
            findings: Of the annotated photographs, by id.
            grades: Of the training photographs, by id; others are left out.

        Returns:
            None where no training photograph is annotated.
        """
        by_grade: dict[int, list[Findings]] = {}
        for name, grade in grades.items():
            if name in findings and findings[name].annotated:
                by_grade.setdefault(int(grade), []).append(findings[name])
        everything = [found for several in by_grade.values() for found in several]
        if not everything:
            return None
        laterality = "right" if any(found.laterality for found in everything) else ""
        lesions = {lesion: _typical(lesion, everything, laterality) for lesion in LESION_NAMES}
        typical = {grade: _of_grade(several, laterality) for grade, several in sorted(by_grade.items())}
        return cls(typical, {lesion: found for lesion, found in lesions.items() if found is not None})

    def filled(self, grade: int, told: Findings | None = None) -> Findings | None:
        """Return what a template says of a photograph of which nothing but its grade is known.

        Args:
            grade: The grade.
            told: Findings of which the names of the lesions are known as well.

        Returns:
            None for a grade without annotated training photographs, where nothing is told.
        """
        usual = self.grades.get(grade)
        if told is None or not told.annotated:
            return usual
        own = {found.lesion: found for found in usual.present} if usual else {}
        place = QUADRANTS[self._laterality][:1]
        present = [
            own.get(name) or self.lesions.get(name) or LesionFinding(name, 1, _LEAST_AREA, place)
            for name in (found.lesion for found in told.present)
        ]
        return Findings(told.annotated, tuple(present), self._laterality)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        everything = Findings(LESION_NAMES, tuple(self.lesions.values()), self._laterality)
        return {"grades": {str(grade): found.to_dict() for grade, found in self.grades.items()},
                "lesions": everything.to_dict()}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TypicalFindings:
        """Return what `to_dict` gave.

        Raises:
            DataError: If they are no findings.
        """
        try:
            grades = {int(grade): Findings.from_dict(found) for grade, found in values["grades"].items()}
            lesions = Findings.from_dict(values["lesions"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"it tells no lesions of each grade ({type(error).__name__}: {error})") from error
        return cls(grades, {found.lesion: found for found in lesions.present})

    @property
    def _laterality(self) -> str:
        return next((found.laterality for found in self.grades.values()), "")


def _of_grade(several: Sequence[Findings], laterality: str) -> Findings:
    annotated = tuple(name for name in LESION_NAMES if any(name in found.annotated for found in several))
    usual = [
        name
        for name in annotated
        if 2 * sum(name in _names(found) for found in several) >= sum(name in found.annotated for found in several)
    ]
    present = [_typical(name, several, laterality) for name in usual]
    return Findings(annotated, tuple(found for found in present if found is not None), laterality)


def _typical(lesion: str, several: Sequence[Findings], laterality: str) -> LesionFinding | None:
    """Return the median of a lesion over the photographs that have it; None where none has."""
    there = [(found, photograph) for photograph in several for found in photograph.present if found.lesion == lesion]
    if not there:
        return None
    names = QUADRANTS[laterality]
    placed = [found.quadrants for found, photograph in there if bool(photograph.laterality) == bool(laterality)]
    counts = Counter(name for quadrants in placed for name in quadrants)
    usual = tuple(name for name in names if 2 * counts[name] >= len(placed) and counts[name])
    quadrants = usual or (max(names, key=lambda name: counts[name]),)
    count, area = (median(getattr(found, key) for found, _ in there) for key in ("count", "area"))
    return LesionFinding(lesion, max(1, round(count)), float(area), quadrants)


def _names(found: Findings) -> set[str]:
    return {lesion.lesion for lesion in found.present}
