"""Which models there are, and how they are built and loaded."""
