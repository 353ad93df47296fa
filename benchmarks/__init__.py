"""Measurements of this package beside the official predictor, with their results."""
