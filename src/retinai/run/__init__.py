"""A run: its folder, its record, its parts built from the configuration, what it prints."""
