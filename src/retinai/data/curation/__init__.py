"""From an owner's table to the parts of a run: files, duplicates, patients, splits."""
