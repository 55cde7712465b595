"""Experiment tracking services."""
