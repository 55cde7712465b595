"""From a file to prepared pixels, and their cache."""
