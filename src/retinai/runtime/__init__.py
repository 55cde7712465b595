"""Grading with an exported folder: the core of retinai and an inference engine, without torch."""

from retinai.runtime.grader import Grader

__all__ = ["Grader"]
