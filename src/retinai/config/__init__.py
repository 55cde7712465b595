"""Composition of experiments: where the configuration lies, how it is composed and checked."""
