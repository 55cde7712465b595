"""Grading with an exported folder: the core of retinai and an inference engine, without torch."""

from retinai.runtime.exported_model import ExportedModel

__all__ = ["ExportedModel"]
