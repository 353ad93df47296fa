"""The napari plugin of sam2track.

``axes``, ``opening``, ``session``, ``view``, ``tracks``, ``arrays`` and ``worker`` know neither
napari nor Qt; ``sync`` knows napari's layers; ``form``, ``table``, ``timeline``, ``preview`` and
``panel`` are controls; ``commands``, ``identity``, ``showing`` and ``widget`` only wire.
"""
