"""Figures and reports: what a run leaves for people to read."""
