"""Age and sex of the patient as a further input of a classifier."""
