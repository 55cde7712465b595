"""Owners' label files, read as they are published."""
