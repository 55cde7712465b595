"""Calibration: temperature and operating points, fitted on validation, and the probabilities that people are shown."""
