"""Persistent homology of a photograph, as a second input of a classifier."""
