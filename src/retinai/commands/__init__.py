"""One short file per command: its steps, top to bottom."""
