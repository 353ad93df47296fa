"""Where pictures come from: video files, folders of pictures and arrays.

Nothing is imported here, so that looking at the package costs nothing: take ``open_source`` from
``sam2track.frames.opening``, which loads the reader that a source needs and no other.
"""

from __future__ import annotations
