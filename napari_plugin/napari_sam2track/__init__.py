"""The napari plugin of sam2track.

``axes``, ``session``, ``arrays`` and ``worker`` know neither napari nor Qt; ``sync`` knows
napari's layers; ``widget`` and ``timeline`` know Qt and only wire.
"""
