"""A language model that grades in words."""
