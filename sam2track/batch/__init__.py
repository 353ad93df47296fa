"""Many videos: each in a process of its own, on this machine or on those of a Ray cluster."""
