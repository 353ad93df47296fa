"""The engine: arrays and tensors in, results out."""
