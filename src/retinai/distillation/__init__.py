"""Students that learn from trained teachers."""
