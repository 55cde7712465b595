"""Metrics of predictions, each with a bootstrap interval clustered by patient."""
