"""LightningModules: how networks are trained, validated, saved and loaded."""
