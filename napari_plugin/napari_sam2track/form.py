"""The top of the dock widget: which image, how its axes and values are read, model and project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_sam2track.axes import Axes, guess_axes, is_channel
from napari_sam2track.axis_boxes import ChannelBox, PlaneBox
from napari_sam2track.line import Line
from napari_sam2track.memory import needed
from napari_sam2track.opening import Choice, free_or_of, project_path
from napari_sam2track.places import steps_of
from sam2track.errors import Sam2TrackError, UsageError

__all__ = ["Form"]

_MODELS = ("auto", "nano", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")
_LIMITS, _PERCENTILES = "contrast limits", "percentiles"
_MOST_CHANNELS = 3
# As they were chosen: for as long as there is the layer, whatever docks come and go.
_PROJECTS: WeakKeyDictionary[Image, str] = WeakKeyDictionary()


class Form(QWidget):
    """What is to be opened; knows the viewer's image layers, and no session.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    refused = Signal(str)
    changed = Signal()
    chose = Signal()  # an image

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.axis_boxes: list[tuple[int, PlaneBox | ChannelBox]] = []
        self._axes: Axes | None = None
        self._labels: list[str] = []
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow("Image", self._image_row())
        self._axis_row = QHBoxLayout()
        self.time_box = QComboBox()
        self.time_box.setToolTip("The axis along which objects are followed")
        self._axis_row.addWidget(self.time_box, 1)
        form.addRow("Time", self._axis_row)
        form.addRow("Values", self._values_row())
        form.addRow("Model", self._model_row())
        form.addRow("Project", self._project_row())
        row = QHBoxLayout()
        self.begin_button = QPushButton("Begin")
        self.begin_button.setToolTip("Open the image with this model and project")
        self.state = Line("not open")
        self.state.setToolTip("The model that is loaded, where it runs, and the memory in use")
        row.addWidget(self.begin_button)
        row.addWidget(self.state, 1)
        form.addRow(row)
        self.image_box.currentIndexChanged.connect(self._propose)
        self.project_edit.textChanged.connect(self._keep_project)
        self.time_box.currentIndexChanged.connect(self._show_axes)
        self.values_box.currentIndexChanged.connect(self.changed)
        self.channels_box.toggled.connect(self.changed)
        self.model_box.currentTextChanged.connect(self._show_needed)

    def _image_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.image_box = QComboBox()
        self.image_box.setToolTip("The image layer to track in")
        self.image_box.setMinimumContentsLength(8)
        self.channels_box = QCheckBox("channels")
        self.channels_box.setToolTip(
            "See the two or three visible image layers of this shape as the channels of one picture"
        )
        row.addWidget(self.image_box, 1)
        row.addWidget(self.channels_box)
        return row

    def _values_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.values_box = QComboBox()
        self.values_box.addItems([_LIMITS, _PERCENTILES])
        self.values_box.setToolTip(
            "Which values become black and white: the layer's contrast limits, as they are when a "
            "project begins, or percentiles of the whole stack"
        )
        self.preview_button = QPushButton("Preview")
        self.preview_button.setToolTip("Show the picture that the model sees")
        row.addWidget(self.values_box, 1)
        row.addWidget(self.preview_button)
        return row

    def _model_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.model_box = QComboBox()
        self.model_box.addItems(list(_MODELS))
        self.model_box.setEditable(True)
        self.model_box.setMinimumContentsLength(8)
        self.model_box.setToolTip(
            "auto: the best SAM 2.1 on this disk that the device carries, else nano, which is "
            "always here. A checkpoint's path will do too."
        )
        self.device_box = QComboBox()
        self.device_box.addItems(["auto", "cpu", "cuda", "mps"])
        self.device_box.setToolTip("Where the model runs")
        row.addWidget(self.model_box, 1)
        row.addWidget(self.device_box)
        return row

    def _project_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.project_edit = QLineEdit()
        self.project_edit.setToolTip(
            "The project file: everything is saved there as you go. One that is there is gone on "
            "with; the command line reads it too."
        )
        self.project_button = QPushButton("…")
        self.project_button.setToolTip("Choose another project file")
        self.project_button.setMaximumWidth(28)
        self.project_button.clicked.connect(self.choose_project)
        row.addWidget(self.project_edit, 1)
        row.addWidget(self.project_button)
        return row

    # -- which image --------------------------------------------------------------------

    @property
    def image(self) -> Image | None:
        """The layer that is chosen, if it is still there."""
        found = self.image_box.currentData()
        return found if found in self.viewer.layers else None

    @property
    def project(self) -> Path:
        """Where the chosen layer's project is, or is to be."""
        given, image = _home(self.project_edit.text()), self.image
        if given or image is None:
            return Path(given)
        return project_path(_given(image), image.name)

    def reset_choices(self, _: Any = None) -> None:
        """List the image layers; the chosen one stays chosen where it still is there."""
        layers = [layer for layer in self.viewer.layers if isinstance(layer, Image)]
        chosen = self.image_box.currentData()
        self.image_box.blockSignals(True)
        self.image_box.clear()
        for layer in layers:
            self.image_box.addItem(layer.name, layer)
        self.image_box.setCurrentIndex(
            layers.index(chosen) if chosen in layers else len(layers) - 1
        )
        self.image_box.blockSignals(False)
        self._offer_channels()
        if self.image_box.currentData() is not chosen:
            self.image_box.currentIndexChanged.emit(self.image_box.currentIndex())

    def guess(self, image: Image) -> Axes:
        """Read a layer's axes from their labels.

        Raises
        ------
        UsageError
        """
        data = _data(image)
        labels = [str(label) for label in image.axis_labels]
        at = image.world_to_data(self.viewer.dims.point)  # other layers may have more axes
        return guess_axes(data.shape, labels, rgb=image.rgb, at=at)

    def _propose(self, _: Any = None) -> None:
        """Show how a layer's axes are read, and where its project goes."""
        image = self.image
        if image is None:
            return
        self._axes = None
        self.time_box.blockSignals(True)
        self.time_box.clear()
        self.time_box.blockSignals(False)
        try:
            axes = self.guess(image)
        except Sam2TrackError as error:
            self._show_axes()
            self.refused.emit(str(error))
            return
        self.project_edit.setText(_PROJECTS.get(image) or str(self._proposed(image, axes)))
        labels = [str(label) for label in image.axis_labels]
        self._axes = axes
        self._labels = [*labels, *[f"axis {i}" for i in range(len(labels), len(axes.shape))]]
        self.values_box.setEnabled(not image.rgb)
        self._offer_channels()
        self.time_box.blockSignals(True)
        for axis in self._long(axes):
            self.time_box.addItem(f"{self._labels[axis]} ({axes.shape[axis]})", axis)
        self.time_box.setCurrentIndex(self.time_box.findData(axes.time))
        self.time_box.blockSignals(False)
        self._show_axes()
        self.chose.emit()

    def set_project(self, image: Image, path: str) -> None:
        """Let an image's project be this one; another image may be chosen now."""
        _PROJECTS[image] = path
        if image is self.image:
            self.project_edit.setText(path)

    def _keep_project(self, text: str) -> None:
        if self.image is not None:
            _PROJECTS[self.image] = text

    @staticmethod
    def _proposed(image: Image, axes: Axes) -> Path:
        """Where a layer's project goes, unless a person chooses."""
        given = _given(image)
        path = project_path(given, image.name)
        return path if given else free_or_of(path, axes)

    def _show_axes(self, _: Any = None) -> None:
        for _axis, box in self.axis_boxes:
            self._axis_row.removeWidget(box)
            box.deleteLater()
        self.axis_boxes = []
        if self._axes is None:
            return
        known: dict[int, Any] = dict(self._axes.fixed)
        if self._axes.channels is not None:
            known.update([self._axes.channels])
        for axis in self._long(self._axes):
            if axis == self.time_box.currentData():
                continue
            several = is_channel(self._labels[axis]) and not self._axes.rgb
            box = (ChannelBox if several else PlaneBox)(
                self._labels[axis], self._axes.shape[axis], known.get(axis, 0)
            )
            box.changed.connect(self.changed)
            self._axis_row.addWidget(box)
            self.axis_boxes.append((axis, box))
        self.changed.emit()

    @staticmethod
    def _long(axes: Axes) -> list[int]:
        """Axes along which there is something to choose."""
        return [axis for axis in range(len(axes.shape) - 2) if axes.shape[axis] > 1]

    def _offer_channels(self) -> None:
        """Let channels be ticked where there are layers for them; some may be hidden for now."""
        image = self.image
        self.channels_box.setEnabled(image is not None and len(self._alike(image)) > 1)

    def _alike(self, image: Image) -> list[Image]:
        """Layers that may be channels of one picture with this one, in their order."""
        shape = _data(image).shape
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image)
            and not (layer.rgb or image.rgb)
            and _data(layer).shape == shape
        ]

    def show(self, choice: Choice) -> None:
        """Show how pictures are read, where a project says it."""
        if self._axes is None or self._axes.shape != choice.axes.shape:
            return
        self._axes = choice.axes
        self.time_box.blockSignals(True)
        self.time_box.setCurrentIndex(self.time_box.findData(choice.axes.time))
        self.time_box.blockSignals(False)
        if self.values_box.isEnabled():
            self.values_box.setCurrentText(_PERCENTILES if choice.limits[0] is None else _LIMITS)
        self._show_axes()

    # -- what is chosen -----------------------------------------------------------------

    def chosen(self) -> Choice:
        """What is to be opened, and how.

        Raises
        ------
        UsageError
            Where there is no image, or it cannot be read so.
        """
        image = self.image
        if image is None:
            raise UsageError("there is no image layer; open a video or a stack first")
        axes = self.guess(image)
        if self._axes is not None and self._axes.shape == axes.shape:
            time = int(self.time_box.currentData())
            seen = {axis: box.chosen() for axis, box in self.axis_boxes}
            several = next(((a, i) for a, i in seen.items() if isinstance(i, tuple)), None)
            fixed = tuple(
                (axis, None if isinstance(index := seen.get(axis, 0), tuple) else index)
                for axis in range(len(axes.shape) - 2)
                if axis != time
            )
            axes = Axes(axes.shape, axes.rgb, time, fixed, several)
        layers = [image]
        if self.channels_box.isChecked() and self.channels_box.isEnabled():
            layers = [one for one in self._alike(image) if one.visible or one is image]
            if axes.channels is not None:
                raise UsageError(
                    "channels are chosen along an axis and as layers; untick 'channels', or choose "
                    "one index along the axis"
                )
            if len(layers) == 1:
                raise UsageError(
                    f"'channels' is ticked, and of this shape {image.name} alone is visible; show "
                    f"the others with their eye in the list of layers, or untick it"
                )
            if len(layers) > _MOST_CHANNELS:
                raise UsageError(
                    f"{len(layers)} visible image layers have this shape, and the model sees up "
                    f"to {_MOST_CHANNELS}; hide the others with their eye in the list of layers"
                )
        percentiles = self.values_box.currentText() == _PERCENTILES
        limits = tuple(
            None
            if layer.rgb or percentiles
            else (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
            for layer in layers
        )
        return Choice(
            tuple(_data(layer) for layer in layers),
            axes,
            limits,
            self.project,
            self.model_box.currentText(),
            self.device_box.currentText(),
            steps_of(image),
            image.source.path,
        )

    def choose_project(self) -> None:
        """Ask where the project is to be kept, or which one to go on with."""
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Project",
            self.project_edit.text(),
            "sam2track projects (*.s2t)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.project_edit.setText(name if name.endswith(".s2t") else f"{name}.s2t")
            self.project_edit.editingFinished.emit()

    def _show_needed(self, name: str) -> None:
        told = needed(name)
        self.model_box.lineEdit().setToolTip(told)
        if told and self.state.text().partition(" ")[0] in ("not", "takes"):
            self.state.setText(told)


def _given(image: Image) -> str | None:
    """Where a layer's project goes by who opened it, or the file by which it goes."""
    about: dict[str, str] = image.metadata.get("sam2track") or {}
    return about.get("project") or image.source.path


def _data(image: Image) -> Any:
    return image.data[0] if image.multiscale else image.data


def _home(path: str) -> str:
    """With ~ at its beginning as the home folder; who that is of, if nobody, stays as it is."""
    return os.path.expanduser(path)  # noqa: PTH111  Path's own raises there
