"""LLaVA: loading, adapters, conversations as tokens, grading by likelihood, generation."""
