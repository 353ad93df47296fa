"""From pictures to features: one resize, one normalisation, one pass through the trunk."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sam2track.models.model import Model
from sam2track.tracking.graphs import Graphs
from sam2track.tracking.trunk import Trunk

__all__ = ["LARGE", "Encoder", "Features", "Picture"]

Picture = npt.NDArray[np.uint8] | torch.Tensor
"""A (H, W, 3) frame in RGB, or what ``Encoder.fit`` made of it."""

LARGE = 512
"""Side of the square, in pixels, from which on sums are taken in another order than SAM 2's."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """What is known of one frame, at three resolutions.

    Attributes
    ----------
    fine, middle : (1, C, 4h, 4w) and (1, C', 2h, 2w) tensors, or None
        Inputs of the mask decoder's upscaling, where the model uses them.
    top : (1, C, h, w) tensor
        Features at stride 16.
    """

    fine: torch.Tensor | None
    middle: torch.Tensor | None
    top: torch.Tensor

    def to(self, device: torch.device) -> Features:
        """The same on a device; itself where it lies there."""
        fine, middle, top = self
        return Features(
            None if fine is None else fine.to(device),
            None if middle is None else middle.to(device),
            top.to(device),
        )

    def high_res(self, count: int) -> list[torch.Tensor] | None:
        """Fine and middle features for ``count`` objects, as views."""
        if self.fine is None or self.middle is None:
            return None
        return [self.fine.expand(count, -1, -1, -1), self.middle.expand(count, -1, -1, -1)]


class Encoder:
    """The image encoder of a model.

    The one resize of this package: RGB uint8 to the model's square by bilinear
    interpolation with antialiasing, rounded to uint8 (``torch.nn.functional.interpolate``,
    on the CPU whatever the device, so that the same video gives the same pixels
    everywhere). Aspect ratio is not kept, as in SAM 2. Then (x / 255 - mean) / std in
    float32 with ImageNet's figures.

    Parameters
    ----------
    model : Model
        Its weights are taken now; later changes may not be seen.
    graphs : Graphs, optional
        Where the work of a GPU is recorded.
    """

    def __init__(self, model: Model, graphs: Graphs | None = None) -> None:
        model.renew()
        self.model = model
        self._graphs = graphs or Graphs(model.device)
        self.encoded = 0  # frames encoded so far
        # On small squares there is nothing to gain, and the modules' own order of sums is kept.
        self._trunk = Trunk(model) if model.image_size >= LARGE else None
        device = model.device
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)

    def fit(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Resize a (H, W, 3) frame into (1, 3, S, S) uint8, on the CPU."""
        size = self.model.image_size
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
        if pixels.shape[-2:] == (size, size):
            return pixels
        return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)

    def prepare(self, picture: Picture) -> torch.Tensor:
        """Resize and normalise a picture into (1, 3, S, S) float32."""
        return self._normalised(self._placed(picture))

    def _placed(self, picture: Picture) -> torch.Tensor:
        """Resize a picture into (1, 3, S, S) uint8, on the model's device."""
        pixels = picture if isinstance(picture, torch.Tensor) else self.fit(picture)
        cuda = self.model.device.type == "cuda"
        if cuda:  # from other pages the copy would wait until the device is through with its work
            pixels = pixels.pin_memory()
        return pixels.to(self.model.device, non_blocking=cuda)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() / 255 - self._mean) / self._std

    @torch.inference_mode()
    def encode(self, picture: Picture) -> Features:
        """Features of a picture.

        Follows ``ImageEncoder.forward``, ``FpnNeck.forward`` and ``SAM2Base.forward_image``,
        without the position encodings that those make anew for every frame; on large squares
        in fewer operations (``sam2track.tracking.trunk``).
        """
        self.encoded += 1
        found = self._graphs.run("encode", self._features, self._placed(picture))
        return Features(*cast(Features, found))

    def _features(self, pixels: torch.Tensor) -> Features:
        module, image = self.model.module, self._normalised(pixels)
        if self._trunk is not None:
            levels = self._trunk(image)
            if not module.use_high_res_features_in_sam:
                return Features(None, None, levels[-1])
            return Features(*levels[-3:])
        with self.model.autocast():
            levels = self._pyramid(image)
            if not module.use_high_res_features_in_sam:
                return Features(None, None, levels[-1])
            decoder = self.model.part("sam_mask_decoder")
            fine, middle, coarse = levels[-3:]
            return Features(decoder.conv_s0(fine), decoder.conv_s1(middle), coarse)

    def _pyramid(self, image: torch.Tensor) -> list[torch.Tensor]:
        encoder = self.model.part("image_encoder")
        neck, trunk_levels = encoder.neck, encoder.trunk(image)
        last = len(neck.convs) - 1
        levels: list[torch.Tensor] = []
        above: torch.Tensor | None = None
        for index in range(last, -1, -1):
            lateral = neck.convs[last - index](trunk_levels[index])
            if above is not None and index in neck.fpn_top_down_levels:
                lateral = lateral + F.interpolate(
                    above.float(), scale_factor=2.0, mode=neck.fpn_interp_model
                )
                if neck.fuse_type == "avg":
                    lateral = lateral / 2
            above = lateral
            levels.insert(0, lateral)
        return levels[: -encoder.scalp] if encoder.scalp > 0 else levels
