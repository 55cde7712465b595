"""A network that reads both eyes of a patient: one encoder for both, and an eye that is missing is allowed."""
