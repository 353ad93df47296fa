"""The napari plugin of sam2track.

``axes``, ``opening``, ``session``, ``strokes``, ``rescue``, ``view``, ``tracks``, ``arrays``,
``memory``, ``words``, ``writers`` and ``worker`` know neither napari nor Qt; ``sync`` knows
napari's layers, with ``marks``, ``following``, ``places`` and ``colours``; ``form``,
``axis_boxes``, ``table``, ``timeline``, ``line``, ``preview`` and ``panel`` are controls. The
others only wire: of ``commands``, ``exports``, ``pasting``, ``identity``, ``keeping``, ``showing``,
``watching``, ``beginning`` and ``widget`` each is the panel of the one before, with more that it
can do.
"""
