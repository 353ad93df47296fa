"""Synthetic clips, and the trainer behind the embedded model."""
