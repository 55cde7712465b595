"""Whether a photograph can be graded, and why not: features, a small model of them, and a verdict in words."""

from retinai.quality.verdict import Quality, judge

__all__ = ["Quality", "judge"]
