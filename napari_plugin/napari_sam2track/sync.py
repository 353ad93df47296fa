"""The layers of a session, and what they say: clicks, boxes, masks and tracks.

Layers are found by the objects themselves, never by their names, which a person may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Points, Shapes, Tracks
from qtpy.QtCore import QTimer

from napari_sam2track.arrays import MaskArray, VideoArray
from napari_sam2track.axes import Axes
from napari_sam2track.colours import colours_of
from napari_sam2track.following import Following
from napari_sam2track.marks import BACKGROUND, OBJECT, Key, Marks
from napari_sam2track.places import geometry, hides
from napari_sam2track.tracks import Tracks as TrackData
from napari_sam2track.view import Said
from sam2track.palette import colour

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["NOT_FLAT", "Layers"]

_STROKE = 200  # milliseconds until a stroke counts as ended where nothing of it is painted
NOT_FLAT = (
    "clicks, boxes and paint belong to flat frames, rows and columns; go back to the 2-D view for "
    "them, and roll the axes back (Ctrl+E) where they were rolled"
)
_DRAGGED = ("add_rectangle", "add_ellipse", "add_line", "select", "direct")  # tools of boxes
# Symbol and colour of each kind of click.
_KINDS = {
    OBJECT: ("disc", (0.1, 0.8, 0.2, 1.0)),
    BACKGROUND: ("cross", (0.9, 0.15, 0.1, 1.0)),
}


class Layers:
    """Layers for clicks, boxes, masks and tracks over an image.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image
        Whose place, axes and units they take.
    axes : Axes
    read : callable
        Gives the label map of a frame.
    said : callable
        Called with what is said now where clicks or boxes changed, by object and frame, and with
        what was said there before.
    painted : callable
        Called where masks were painted.
    picked : callable
        Called with the label that a person chose to paint with.
    refused : callable
        Called with a message where something cannot be taken.
    highest : callable
        Gives the highest number of an object.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        axes: Axes,
        read: Callable[[int], Any],
        said: Callable[[Mapping[Key, Said], Mapping[Key, Said]], None],
        painted: Callable[[], None],
        picked: Callable[[int], None],
        refused: Callable[[str], None],
        highest: Callable[[], int],
    ) -> None:
        self.viewer, self.image, self.axes = viewer, image, axes
        self._said, self._painted, self._picked, self._refused = said, painted, picked, refused
        self._known: dict[tuple[int, int], Said] = {}
        self._quiet = self._drawn = False  # the latter: whether boxes were ever chosen
        self.colours: dict[int, tuple[float, ...]] = {}
        self.hidden: set[int] = set()
        self._beyond: set[int] = set()  # objects with numbers above those that have colours
        self.data = MaskArray(axes, read, highest, _files_of(image))
        self._settled = QTimer()
        self._settled.setSingleShot(True)
        self._settled.timeout.connect(self._on_settled)
        self.data.written = self._settled.start
        place = geometry(image)
        ndim = len(axes.shape)
        self.masks = Labels(self.data, name="masks", opacity=0.55, multiscale=False, **place)
        self.masks.preserve_labels = True  # a brush takes nothing from other objects unasked
        self._beyond_ends = QTimer()  # so that of a stroke it is said once
        self._beyond_ends.setSingleShot(True)
        self._beyond_ends.setInterval(_STROKE)
        self._beyond_ends.timeout.connect(self._refuse_stroke)
        # napari reads a frame for each stroke, for the type of its numbers.
        check = getattr(Labels, "_validate_label_in_range", None)
        if check is not None:
            like = SimpleNamespace(data=np.zeros((1, 1), self.data.dtype))
            self.masks._validate_label_in_range = partial(check, like)
        for tool in ("paint", "fill", "paint_polygon"):
            setattr(self.masks, tool, self._within(getattr(self.masks, tool)))
        self.boxes = Shapes(
            None,
            ndim=ndim,
            name="boxes",
            features=_no_features("object"),
            edge_width=max(1.0, min(axes.height, axes.width) / 200),
            face_color="transparent",
            visible=False,
            **place,
        )
        self.clicks = Points(
            np.empty((0, ndim)),
            ndim=ndim,
            name="clicks",
            features=_no_features("object", "kind"),
            size=max(3.0, min(axes.height, axes.width) / 32),
            border_width=0.2,
            **place,
        )
        self._marks = Marks(self.clicks, self.boxes, axes)
        self.tracks: Tracks | None = None
        self._tracks_left = False  # whether a person removed their layer
        for layer in (self.masks, self.boxes, self.clicks):
            viewer.add_layer(layer)
        self.recolour({})
        self.clicks.events.data.connect(self._on_prompts)
        self.boxes.events.data.connect(self._on_prompts)
        self.boxes.events.data.connect(self._show_boxes)
        viewer.layers.selection.events.active.connect(self._show_boxes)
        self.masks.events.paint.connect(self._on_paint)
        self.masks.events.selected_label.connect(self._on_label)
        self.masks.events.colormap.connect(self._on_colours)
        self._one_alone = QTimer()  # which is told before it is drawn
        self._one_alone.setSingleShot(True)
        self._one_alone.timeout.connect(self._in_order)
        self.masks.events.show_selected_label.connect(self._on_one_alone)
        self._following = Following(image, self._on_put_back)
        for layer in (self.masks, self.boxes, self.clicks):
            self._following.add(layer)
        self.select(1)

    @property
    def own(self) -> list[Any]:
        """The layers that are there."""
        mine = [self.masks, self.boxes, self.clicks, self.tracks]
        return [layer for layer in mine if layer is not None and layer in self.viewer.layers]

    @property
    def needed(self) -> tuple[Any, ...]:
        """Layers without which the session ends."""
        return self.image, self.clicks, self.boxes, self.masks

    def remove(self) -> None:
        """Take all of them from the viewer."""
        self.clicks.events.data.disconnect(self._on_prompts)
        self.boxes.events.data.disconnect(self._on_prompts)
        self.boxes.events.data.disconnect(self._show_boxes)
        self.viewer.layers.selection.events.active.disconnect(self._show_boxes)
        self.masks.events.paint.disconnect(self._on_paint)
        self._settled.stop()
        self._beyond_ends.stop()
        self.masks.events.selected_label.disconnect(self._on_label)
        self.masks.events.colormap.disconnect(self._on_colours)
        self.masks.events.show_selected_label.disconnect(self._on_one_alone)
        self._one_alone.stop()
        self._following.end()
        # napari collects garbage once for all of them, not for each, which takes half a second.
        with self.viewer.layers.batched_update():
            for layer in self.own:
                self.viewer.layers.remove(layer)

    def take_painted(self) -> None:
        """Hear now of what was painted and is still to be told, as by a stroke under way."""
        if self.data.is_painted:
            self._on_paint()

    def put_back(self) -> None:
        """Let layers that were moved by themselves lie on the image, before something is said."""
        self._following.hurry()

    def _on_put_back(self, names: list[str]) -> None:
        """Say what to move in place of a layer; else a click would be said beside its pixel."""
        lie = "lies" if len(names) == 1 else "lie"
        self._refused(
            f"{' and '.join(names)} {lie} on {self.image.name}: move or scale that, and what lies "
            f"on it follows"
        )

    def _show_boxes(self, _: Any = None) -> None:
        """Show the layer of boxes while there are any, or somebody is about to draw one.

        Even without one it is costly to draw: its shaders are linked anew for each frame.
        """
        active = self.viewer.layers.selection.active == self.boxes  # napari may wrap either
        shown = active or bool(len(self.boxes.data))
        if self.boxes.visible != shown:  # told again what it is, a layer forgets its tool
            self.boxes.visible = shown
        if active and not self._drawn:
            self.boxes.mode, self._drawn = "add_rectangle", True

    @property
    def frame(self) -> int:
        """The frame that the viewer shows; other layers may have more axes, or finer steps."""
        return self.axes.frame(self.image.world_to_data(self.viewer.dims.point))

    @property
    def over(self) -> str:
        """The name of an image that hides the one that is tracked; empty where none does."""
        above = self.viewer.layers[self.viewer.layers.index(self.image) + 1 :]
        return next((one.name for one in above if hides(one, self.image)), "")

    @property
    def astray(self) -> str:
        """What is told where the viewer shows no flat frame of these; empty where it does."""
        if not self.flat:
            return NOT_FLAT
        at = self.image.world_to_data(self.viewer.dims.point)
        if not self.axes.has(at):
            return f"the viewer is {self._marks.ends}"
        return "" if self.axes.shows(at) else self._other_plane

    @property
    def _other_plane(self) -> str:
        return f"this plane is not tracked; go back to {self._marks.plane}"

    def end_drag(self) -> None:
        """End what is still being dragged though the button is up.

        Of a box that was drawn or moved as another frame was shown napari's own tool fails.
        """
        begun = self.boxes._is_creating or self.boxes._moving_value[0] is not None
        if begun and self.boxes.mode in _DRAGGED:
            self.boxes._finish_drawing()

    @property
    def drawing(self) -> bool:
        """Whether somebody is in the middle of a shape of several clicks."""
        return bool(self.boxes._is_creating)

    @property
    def flat(self) -> bool:
        """Whether rows and columns are what the viewer shows."""
        dims = self.viewer.dims
        return set(dims.displayed) == {dims.ndim - 2, dims.ndim - 1}

    def show_plane(self) -> None:
        """Let the viewer show what is looked at along axes that are neither time nor the frame."""
        at = np.array(self.image.world_to_data(self.viewer.dims.point))
        ahead = self.viewer.dims.ndim - len(self.axes.shape)
        for axis, index in self.axes.fixed:
            if index is not None:
                at[axis] = index
                self.viewer.dims.set_point(ahead + axis, self.image.data_to_world(at)[axis])

    def go(self, frame: int) -> None:
        """Let the viewer show a frame."""
        at = np.array(self.image.world_to_data(self.viewer.dims.point))
        at[self.axes.time] = frame
        ahead = self.viewer.dims.ndim - len(self.axes.shape)
        axis = ahead + self.axes.time
        self.viewer.dims.set_point(axis, self.image.data_to_world(at)[self.axes.time])

    # -- what they say ------------------------------------------------------------------

    def select(self, object_id: int, background: bool = False) -> None:
        """Let what is drawn from now on belong to this object."""
        kind = BACKGROUND if background else OBJECT
        # Not current_properties, which would change the click that is selected.
        self.clicks.feature_defaults = {"object": object_id, "kind": kind}
        self.boxes.feature_defaults = {"object": object_id}
        self.know([object_id])
        with self.clicks.block_update_properties():
            symbol, face = _KINDS[kind]
            self.clicks.current_symbol, self.clicks.current_face_color = symbol, face
            self.clicks.current_border_color = self.colour(object_id)
        with self.quiet():
            self.masks.selected_label = object_id

    def say(self, frame: int, more: Mapping[int, Said]) -> None:
        """Add clicks and boxes of objects to a frame that is shown, as a person would."""
        now = self.prompts()
        said = {(i, frame): now.get((i, frame), Said()).joined(one) for i, one in more.items()}
        changed = {key: one for key, one in said.items() if one != now.get(key)}
        if changed:
            self.show_prompts(now | changed)
            self._said(changed, {key: now.get(key, Said()) for key in changed})

    def selected(self) -> dict[int, Said]:
        """What the clicks and boxes that are selected say, by object; of all frames together."""
        return self._marks.selected()

    @property
    def uneven(self) -> bool:
        """Whether other boxes are drawn than are said."""
        return self._marks.uneven

    def prompts(self) -> dict[Key, Said]:
        """What clicks and boxes say, by object and frame."""
        return self._marks.said()

    def _on_prompts(self, event: Any = None) -> None:
        if self._quiet or str(getattr(event, "action", "")).endswith("ing"):
            return
        if not self.flat:
            self._refused(NOT_FLAT)
            return
        now, wrong = self._marks.taken(self._known)
        for key in wrong.keys() & self._known.keys():
            # One that was there was moved where it cannot be: it is put back.
            before, after = self._known[key], now.get(key, Said())
            fewer = len(after.points) < len(before.points)
            points = before if fewer else after
            now[key] = Said(points.points, points.labels, after.box or before.box)
        for message in dict.fromkeys(wrong.values()):
            self._refused(message)
        known, self._known = self._known, now
        keys = sorted(now.keys() | known.keys())
        changed = {key: now.get(key, Said()) for key in keys if now.get(key) != known.get(key)}
        if changed:
            self._said(changed, {key: known.get(key, Said()) for key in changed})
        self._style()

    def _on_paint(self, _: Any = None) -> None:
        if self._quiet:
            return
        if not self.flat:
            why = NOT_FLAT
        elif not self.axes.shows(self.masks.world_to_data(self.viewer.dims.point)):
            why = self._other_plane
        else:
            self._painted()
            return
        self.data.take_painted()
        self._refused(why)

    def _within(self, tool: Callable[..., None]) -> Callable[..., None]:
        """Let a tool of the layer of masks refuse what lies beside the frames.

        napari shows an error of its own there, or paints the last frame, unseen.
        """

        def within(at: Any, *args: Any, **kwargs: Any) -> None:
            if self.axes.has(np.atleast_2d(at)[0]):
                tool(at, *args, **kwargs)
            else:
                self._beyond_ends.start()

        return within

    def _refuse_stroke(self) -> None:
        self._refused(f"this stroke lies {self._marks.ends}")

    def _on_settled(self) -> None:
        """Take what a program has painted, of which napari tells nobody, unlike of a stroke."""
        if self.data.is_painted and not self.masks._block_history:
            self._on_paint()

    def _on_label(self, _: Any = None) -> None:
        if not self._quiet and self.masks.selected_label > 0:
            self._picked(int(self.masks.selected_label))

    def _on_colours(self, _: Any = None) -> None:
        """Put back colours that the layer's own controls took: they are those of the list."""
        if not self._quiet:
            self.recolour(self.colours, self.hidden)
            self._refused(
                "colours are those of the objects: double-click on one in the list for another"
            )

    # -- what they show -----------------------------------------------------------------

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Change layers without that counting as something a person did."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def show_prompts(self, said: Mapping[tuple[int, int], Said]) -> None:
        """Let clicks and boxes be these."""
        count = sum(len(one.points) for one in said.values())
        boxes = sum(one.box is not None for one in said.values())
        shown = len(self.clicks.data), len(self.boxes.data)
        if shown == (count, boxes) and not self.uneven and self.prompts() == said:
            self._known = dict(said)
            return
        at, ids, kinds, corners, owners = [], [], [], [], []
        beside = self.image.world_to_data(self.viewer.dims.point)
        for (object_id, frame), one in sorted(said.items()):
            for (x, y), label in zip(one.points, one.labels, strict=True):
                at.append(self.axes.position(frame, y, x, beside))
                ids.append(object_id)
                kinds.append(OBJECT if label else BACKGROUND)
            if one.box is not None:
                x0, y0, x1, y1 = (value - 0.5 for value in one.box)
                box = ((y0, x0), (y0, x1), (y1, x1), (y1, x0))
                corners.append(np.array([self.axes.position(frame, y, x, beside) for y, x in box]))
                owners.append(object_id)
        with self.quiet():
            defaults = self.clicks.feature_defaults.copy()
            box_defaults = self.boxes.feature_defaults.copy()
            # Emptied this way: with data = [] a stale selection would stay.
            self.clicks.selected_data = set(range(len(self.clicks.data)))
            self.clicks.remove_selected()
            if at:
                self.clicks.data = np.array(at)
                self.clicks.features = pd.DataFrame({"object": ids, "kind": kinds})
            self.clicks.selected_data = set()
            self.boxes.selected_data = set(range(len(self.boxes.data)))
            self.boxes.remove_selected()
            if corners:
                if not self.boxes.visible:  # told again that it is, it would forget its tool
                    self.boxes.visible = True  # hidden, it takes none in the 3-D view
                self.boxes.add_rectangles(corners)
                self.boxes.features = pd.DataFrame({"object": owners})
            self.boxes.selected_data = set()
            self.clicks.feature_defaults = defaults
            self.boxes.feature_defaults = box_defaults
            self._style()
        self._known = self.prompts()

    def _style(self) -> None:
        """Tell clicks apart by colour and symbol, and objects by the colour around them."""
        clicks, features = self.clicks, self.clicks.features
        with self.quiet():
            if len(features):
                # Another word for it, as the table of features lets one write, is what Marks takes.
                kinds = [_KINDS.get(kind, _KINDS[OBJECT]) for kind in features["kind"]]
                symbols = np.array([symbol for symbol, _ in kinds])
                faces = np.array([face for _, face in kinds])
                borders = np.array([self.colour(int(i)) for i in features["object"]])
                # Each that is set is sent to the canvas anew.
                if symbols.tolist() != [str(symbol) for symbol in clicks.symbol]:
                    clicks.symbol = symbols
                if not np.allclose(clicks.face_color, faces):
                    clicks.face_color = faces
                if not np.allclose(clicks.border_color, borders):
                    clicks.border_color = borders
            if len(self.boxes.data):
                owners = self.boxes.features["object"].to_numpy()
                self.boxes.edge_color = np.array([self.colour(int(i)) for i in owners])

    def show_masks(
        self, frames: Any = None, read: bool = True, known: Mapping[int, Any] | None = None
    ) -> None:
        """Let masks of these frames be read anew, of all where none are named; the shown now.

        Parameters
        ----------
        frames : iterable of int, optional
        read : bool
            Whether what is shown is drawn anew here.
        known : mapping of int to (H, W) int32 array, optional
            Label maps of frames that were read elsewhere.
        """
        shown = read and (frames is None or self.frame in frames)
        self.data.forget(frames, known)
        if shown and self.masks in self.viewer.layers:
            self.masks.refresh()

    def show_tracks(self, tracks: TrackData) -> None:
        """Let the layer of tracks be these; none while there are no tracks, or it was removed."""
        if self._tracks_left:
            return
        # Time is the first axis of such a layer, and up to two may lie between it and columns.
        axes = self.axes
        shown = range(axes.time, len(axes.shape))
        if not 3 <= len(shown) <= 4 or (self.tracks is None and not len(tracks.data)):
            return
        data = np.zeros((len(tracks.data), 1 + len(shown)))
        data[:, :2], data[:, -2:] = tracks.data[:, :2], tracks.data[:, 2:]
        for axis, index in axes.fixed:
            if axis in shown:
                data[:, 1 + axis - axes.time] = axes.shape[axis] // 2 if index is None else index
        if self.tracks is not None and self.tracks in self.viewer.layers:
            self.tracks.graph = {}
            if not len(data):
                gone, self.tracks = self.tracks, None  # first: else it counts as a person's doing
                self._following.drop(gone)
                self.viewer.layers.remove(gone)
                return
            by = self.tracks.color_by
            self.tracks.color_by = "track_id"  # else napari warns that other data knows no such
            self.tracks.data = data
            self.tracks.features = tracks.features
            self.tracks.graph = tracks.graph
            if by in tracks.features:
                self.tracks.color_by = by
            return
        if not len(data):
            return
        active = self.viewer.layers.selection.active
        self.tracks = Tracks(
            data,
            graph=tracks.graph,
            features=tracks.features,
            name="tracks",
            tail_length=15,
            visible=False,
            **geometry(self.image, axes.time),
        )
        self._following.add(self.tracks)
        self.viewer.add_layer(self.tracks)
        self.viewer.layers.selection.active = active

    def leave_tracks(self) -> None:
        """Take that a person removed the layer of tracks: none comes back by itself."""
        self._following.drop(self.tracks)
        self.tracks, self._tracks_left = None, True

    def colour(self, object_id: int) -> tuple[float, ...]:
        """RGBA of an object, each 0 to 1."""
        chosen = self.colours.get(object_id)
        return chosen or (*(part / 255 for part in colour(object_id)), 1.0)

    def know(self, ids: Iterable[int]) -> None:
        """Give objects with high numbers their colours too."""
        new = {i for i in ids if i > 255} - self._beyond
        if new:
            self._beyond |= new
            self.recolour(self.colours, self.hidden)

    def recolour(self, colours: Mapping[int, tuple[float, ...]], hidden: Any = ()) -> None:
        """Give objects these colours in place of the usual ones, and hide some."""
        self.colours, self.hidden = dict(colours), set(hidden)
        table: dict[int | None, Any] = {None: (1.0, 1.0, 1.0, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
        for object_id in {*range(1, 256), *self._beyond, *self.colours, *self.hidden}:
            shown = object_id not in self.hidden
            table[object_id] = self.colour(object_id) if shown else (0.0, 0.0, 0.0, 0.0)
        with self.quiet():  # napari tells then that a label was chosen, the one before
            self.masks.colormap = colours_of(table)
        self._in_order()
        self._style()

    def _on_one_alone(self, _: Any = None) -> None:
        self._one_alone.start(0)

    def _in_order(self) -> None:
        """Have masks drawn above the images below them in the list.

        napari 0.9 draws labels with another texture where there are more colours, or one alone, and
        then below all other layers, until one is hidden or shown.
        """
        self.masks.events.visible()


def _files_of(image: Image) -> list[str]:
    """The files that a layer shows."""
    opened = image.data.source.name if isinstance(image.data, VideoArray) else None
    return [str(name) for name in (image.source.path, opened) if name]


def _no_features(*names: str) -> pd.DataFrame:
    """Columns whose type stands before there is a row: made from nothing they would be floats."""
    types = {"object": np.dtype(np.int64), "kind": np.dtype(object)}
    return pd.DataFrame({name: pd.Series(dtype=types[name]) for name in names})
