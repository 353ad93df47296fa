"""From a layer to what a session needs: pictures, a model and a place for the project."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam2track.arrays import VideoArray
from napari_sam2track.axes import Axes, Channels, Frames, axes_read
from napari_sam2track.places import Steps
from sam2track.errors import (
    DeviceError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    ProjectError,
    ProjectInUseError,
    UsageError,
)
from sam2track.export import output_errors
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import find_source, part_told, reopen_source
from sam2track.project import Project, WriterLock

if TYPE_CHECKING:
    from napari_sam2track.session import Session
    from sam2track.frames.source import FrameSource
    from sam2track.models.model import Model

__all__ = [
    "Choice",
    "free_or_of",
    "free_or_of_image",
    "project_path",
    "source_of",
    "source_of_project",
    "stored_meta",
]

_ELSEWHERE = "choose another place under Project"


@dataclass(frozen=True)
class Choice:
    """What a person chose to open, and how.

    Attributes
    ----------
    arrays : tuple of array
        A layer's data, or that of several layers of one shape, the channels of one picture.
    axes : Axes
    limits : tuple of (float, float) or None, one for each array
        Values that become black and white; percentiles where None.
    path : Path
        The project.
    model, device : str
    steps : tuple of mapping
        How far one step along each axis is, from ``steps_of``.
    file : path, optional
        What the layer was opened from.
    by_project : bool
        Whether that file is read as the project says, in place of the layer.
    """

    arrays: tuple[Any, ...]
    axes: Axes
    limits: tuple[tuple[float, float] | None, ...]
    path: Path
    model: str = "auto"
    device: str = "auto"
    steps: tuple[Steps, ...] = ()
    file: str | Path | None = None
    by_project: bool = False

    def source(self) -> FrameSource:
        """Open what is chosen, for a thread of its own.

        Raises
        ------
        UsageError, SourceError
        """
        if self.by_project:
            return source_of_project(self.path)
        return source_of(self.arrays, self.axes, self.limits, self.steps)

    def settings(self) -> dict[str, Any]:
        """What a new project holds of it, for the next time."""
        return {"viewer": {"axes": self.axes.to_dict(), "limits": self.limits}}

    def load(self, source: FrameSource, meta: Mapping[str, Any], held: Path | None = None) -> Model:
        """Make the project's folder and load a model that goes with what is in it, if anything is.

        Parameters
        ----------
        source : FrameSource
            From ``source``.
        meta : mapping
            What the project says of itself, from ``stored_meta``.
        held : Path, optional
            The project that is open here, and will be closed before this one is opened.

        Raises
        ------
        Sam2TrackError
            As ``load_model`` and ``open_project``, with what to do here; OutputError where there
            can be no such folder.
        """
        from sam2track.founding import check_same

        with output_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if held is None or held.resolve() != self.path.resolve():
            try:
                with _advised(self):  # now, while what is open here still is
                    WriterLock(self.path).release()
            except OutputError as error:
                if not meta:
                    raise
                raise OutputError(
                    f"{error}; to go on with {self.path.name}, copy it into a folder that can be "
                    f"written"
                ) from error
        try:
            model = self.model_of(meta)
        except OutOfMemoryError:
            raise
        except DeviceError as error:
            raise DeviceError(f"{error}; here, choose the device beside Model") from error
        if meta:
            with _advised(self), Project.open(self.path) as project:
                check_same(project, source, model)
        return model

    def session(self, source: FrameSource, model: Model) -> Session:
        """Go on with the project or make it; errors say what to do here.

        Parameters
        ----------
        source : FrameSource
            From ``source``.
        model : Model
            From ``load``.

        Raises
        ------
        Sam2TrackError
            As ``open_project``.
        """
        from napari_sam2track.session import Session

        with _advised(self):
            return Session(source, model, self.path, **self.settings())

    def model_of(self, meta: Mapping[str, Any]) -> Model:
        """Load the model: where ``auto`` is chosen, the one that a project was made with.

        Its precision and the size of its pictures are those of the project in any case: masks of
        others would not be the same.

        Raises
        ------
        Sam2TrackError
            As ``load_model``; where a person has to name the project's model.
        """
        from sam2track.models.loading import load_model, stored_model

        name = self.model
        if name == "auto" and "model" in meta:
            try:
                name = stored_model(meta["model"])
            except ModelError as error:
                raise ModelError(f"{error}; here, choose it under Model") from error
        return load_model(
            name,
            device=self.device,
            precision=str(meta.get("precision", "auto")),
            image_size=meta.get("image_size"),
        )

    def as_before(self, meta: Mapping[str, Any]) -> Choice:
        """Return the choice that a project was made with; the model stays as it is.

        Raises
        ------
        UsageError
            Where it was made from pictures of another shape, or of more or fewer channels.
        """
        viewer = meta.get("viewer")
        if not viewer:
            return self._as_imported(meta)
        known = Axes.of(viewer["axes"])
        if (known.shape, known.rgb) != (self.axes.shape, self.axes.rgb):
            raise UsageError(
                f"{self.path.name} was made from other pictures, {_named(known)}; this layer is "
                f"{_named(self.axes)}: choose another project file, or its own layer"
            )
        limits = viewer["limits"]
        if len(limits) != len(self.arrays):
            raise UsageError(
                f"{self.path.name} was made from {len(limits)} channels, now there are "
                f"{len(self.arrays)}: show just those image layers and tick 'channels', or choose "
                f"another project file"
            )
        pairs = tuple(None if pair is None else (pair[0], pair[1]) for pair in limits)
        return replace(self, axes=known, limits=pairs)

    def _as_imported(self, meta: Mapping[str, Any]) -> Choice:
        """As ``as_before``, of a project that the command line made from the file of the layer."""
        reading, found = meta.get("reading", {}), find_source(meta, self.path.parent)
        if found is None or not self.file or "axes" not in reading or len(self.arrays) != 1:
            return self
        known = axes_read(self.axes.shape, reading, rgb=self.axes.rgb)
        size = (meta["frames"], meta["height"], meta["width"])
        if known is None or (known.frames, known.height, known.width) != size:
            return self
        if not (Path(self.file).exists() and found.samefile(self.file)):
            return self
        limits = reading.get("limits")
        pair = (limits[0][0], limits[0][1]) if isinstance(limits, list) else None
        return replace(self, axes=known, limits=(pair,), by_project=True)


def source_of(
    arrays: Sequence[Any],
    axes: Axes,
    limits: Sequence[tuple[float, float] | None],
    steps: Sequence[Steps] = (),
) -> FrameSource:
    """Open what layers show, for a thread of its own.

    Parameters
    ----------
    arrays : sequence of array
        A layer's data, or those of two or three, which are channels. Of a video that was opened
        by this plugin the file is read, as it was opened.
    axes : Axes
    limits : sequence of (float, float) or None
        For each array the values that become black and white; percentiles where None.
    steps : sequence of mapping
        Of arrays how far one step along each axis is, from ``steps_of``, where that is known.

    Raises
    ------
    UsageError, SourceError
    """
    if isinstance(arrays[0], VideoArray):
        return arrays[0].opened_again()
    from sam2track.frames.array import ArraySource

    if axes.height < 8 or axes.width < 8:
        raise UsageError(
            f"frames of {axes.width} x {axes.height} pixels are too small to track anything in, as "
            f"8 x 8 are needed; check which axis is time, or whether colours were taken for columns"
        )
    scale: dict[str, Any] = {}
    if steps:
        size = tuple(steps[axis].get("um") for axis in (len(axes.shape) - 2, len(axes.shape) - 1))
        scale = {
            "pixel_size_um": None if None in size else size,
            "frame_interval_s": steps[axes.time].get("s"),
        }
    channels = [Frames(data, one) for data in arrays for one in axes.each_channel()]
    if len(channels) > 1:
        pairs = [pair for pair in limits for _ in axes.each_channel()]
        whole = all(pair is not None and pair[0] < pair[1] for pair in pairs)
        return ArraySource(
            Channels(channels),
            axes="TCYX",
            channel=list(range(len(channels))),
            limits=pairs if whole else None,
            **scale,
        )
    pair = None if axes.rgb else limits[0]
    plain = pair is not None and pair[0] < pair[1]
    return ArraySource(channels[0], limits=pair if plain else None, **scale)


def stored_meta(path: Path) -> dict[str, Any]:
    """What a project says of itself; nothing where there is none, or nothing was said to it yet.

    Raises
    ------
    ProjectError
        Where something else is there, or nothing can be.
    """
    if "\0" in str(path):  # which would be noticed only where the file is made
        raise ProjectError(f"{str(path)!r} is no name of a file; {_ELSEWHERE}")
    try:
        if not path.exists():
            return {}
        with Project.open(path) as project:
            return dict(project.meta) if project.journal() else {}
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ProjectError(f"{path}: {error.strerror}; {_ELSEWHERE}") from error
    except ProjectError as error:
        raise ProjectError(f"{error}; here, {_ELSEWHERE}") from error


def project_path(path: str | Path | None, name: str) -> Path:
    """Where a layer's project is kept unless a person chooses: beside its file, or at home."""
    if path is not None and str(path):
        path = Path(path)
        if path.suffix == ".s2t":
            return path
        return path.with_name(f"{path.stem}.s2t")
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "untitled"
    return Path.home() / "sam2track" / f"{plain}.s2t"


def free_or_of(path: Path, axes: Axes) -> Path:
    """A place for the project of a layer that has no file and, often, the name of another one.

    Returns
    -------
    Path
        This one, or one with a number: where nothing is yet, or what was made from pictures of
        this shape.
    """

    def fits(name: Path) -> bool:
        try:
            viewer = stored_meta(name).get("viewer")
        except ProjectError:
            return False
        return not viewer or Axes.of(viewer["axes"]).shape == axes.shape

    return _first(path, fits)


def free_or_of_image(path: Path, part: str) -> Path:
    """A place for the project of one of several images in a file, or of a part of them.

    Names of images that differ in signs alone, such as +drug and -drug, make one name of a file.

    Parameters
    ----------
    path : Path
    part : str
        As ``part_told`` has it.

    Returns
    -------
    Path
        This one, or one with a number: where nothing is yet, what was made from this image, or
        what cannot be read, which is said where it is opened.
    """

    def fits(name: Path) -> bool:
        try:
            meta = stored_meta(name)
        except ProjectError:
            return True
        return not meta or part_told(meta) == part

    return _first(path, fits)


def _first(path: Path, fits: Callable[[Path], bool]) -> Path:
    """The first that fits of a path and those like it that have a number."""
    names = (path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, 100)))
    return next(filter(fits, names), path)


def source_of_project(project: Path) -> FrameSource:
    """Open the pictures of a project as they were read, where they were or beside the project.

    Raises
    ------
    ProjectError
        Where they are at neither place.
    UsageError, SourceError
        As ``open_source``.
    """
    with Project.open(project) as opened:
        meta, fps, folder = opened.meta, rate_of(opened.times), opened.folder
    if find_source(meta, folder) is not None:
        return reopen_source(meta, fps=fps, folder=folder)
    raise ProjectError(
        f"{project.name} was made from {meta.get('source')}, which is not there any more; open the "
        f"video or stack itself, and choose this project under Project in the SAM 2 Track panel"
    )


@contextmanager
def _advised(choice: Choice) -> Iterator[None]:
    """Let errors of a project say what to do here."""
    another = "or another project under Project"
    try:
        yield
    except UsageError as error:  # its pictures were read otherwise
        how = "choose how they are read beside Time and Values"
        if isinstance(choice.arrays[0], VideoArray):  # of whose file the panel has no such choice
            how = f"open {choice.path.name} itself, which is read as it was made"
        told = f"{error}; here, {how}, {another}"
        raise UsageError(told) from error
    except ProjectInUseError as error:
        raise ProjectInUseError(f"{error}: {_ELSEWHERE}") from error
    except ProjectError as error:
        told = f"{error}; here, choose its image and model above, {another}"
        raise ProjectError(told) from error


def _named(axes: Axes) -> str:
    return f"{'x'.join(map(str, axes.shape))} in {'colour' if axes.rgb else 'grey'}"
