"""Networks that see: build, weights, tuning, attention."""
