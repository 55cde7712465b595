"""Grading loose photographs: files in, a table in the layout that is wanted out."""
