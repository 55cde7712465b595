"""The clinic's page on an exported folder, with a REST interface and a record of what was graded; no torch."""
