"""SAM 2's image encoder in strips that stay in the processor's cache.

The function is that of ``Hiera.forward``, ``FpnNeck.forward`` and ``SAM2Base.forward_image`` in
the ``sam2`` package; digits may differ in the last places. What is saved:

- A block works on a strip of whole windows from its first norm to its last sum, so that what lies
  between never goes out to main memory, nor to pages that are new each time.
- Places that fill up a window, which SAM 2 multiplies as zeros, are not multiplied.
- The position embedding is made once, position encodings of the neck not at all.
- Two 1 x 1 convolutions in a row, of the neck and of the mask decoder, are one.
- Weights are cast to the model's precision once, not in every frame.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from sam2track.errors import ModelError
from sam2track.models.model import Model
from sam2track.tracking.attention import attended
from sam2track.tracking.linear import Linear, linear

__all__ = ["Trunk"]

_HIDDEN = 2**22  # values of the widest thing in a strip, on the CPU


class Trunk:
    """The image encoder of a model, for its size of frames.

    Parameters
    ----------
    model : Model
        Its weights are taken now; later changes are not seen.

    Raises
    ------
    ModelError
        Where the module's encoder is not of SAM 2's kind.
    """

    def __init__(self, model: Model) -> None:
        from sam2.modeling.backbones.hieradet import Hiera
        from sam2.modeling.backbones.image_encoder import FpnNeck

        module = model.module
        trunk, neck = module.image_encoder.trunk, module.image_encoder.neck
        if not isinstance(trunk, Hiera) or not isinstance(neck, FpnNeck):
            raise ModelError(
                f"the module's image encoder is made of {type(trunk).__name__} and "
                f"{type(neck).__name__}; SAM 2's are Hiera and FpnNeck"
            )
        self._dtype = model.dtype
        self._ends = set(trunk.stage_ends)
        patch = self._patch = trunk.patch_embed.proj
        size = model.image_size // patch.stride[0]
        with torch.inference_mode():
            self._kernel = patch.weight.to(self._dtype)
            self._shift = None if patch.bias is None else patch.bias.to(self._dtype)
            self._positions = trunk._get_pos_embed((size, size))[0]
            self._blocks = [_Block(block, self._dtype) for block in trunk.blocks]
            self._neck = _Neck(module, self._dtype)

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Levels of a (1, 3, S, S) image, finest first, each (1, C, h, w)."""
        patch = self._patch
        image = image.to(self._dtype).contiguous(memory_format=torch.channels_last)
        x = F.conv2d(image, self._kernel, self._shift, patch.stride, patch.padding)
        x = x[0].permute(1, 2, 0) + self._positions
        found = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._ends:
                found.append(x)
        return self._neck(found)


class _Block:
    """One block of Hiera, on (H, W, C) features."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        self._block, self._dtype = block, dtype
        self._window: int = block.window_size
        self._stride: int = block.q_stride[0] if block.q_stride else 1
        self._heads: int = block.attn.num_heads
        self._qkv = _scaled(block.attn.qkv, self._heads, dtype)
        self._out = linear(block.attn.proj, dtype)
        self._short = linear(block.proj, dtype) if block.dim != block.dim_out else None
        *inner, last = block.mlp.layers
        self._layers = [*(linear(one, dtype, block.mlp.act) for one in inner), linear(last, dtype)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        height, width, _ = x.shape
        stride, widest = self._stride, max(layer.width for layer in [self._qkv, *self._layers])
        rows = height
        if self._window and x.device.type == "cpu":
            rows = self._window * max(1, _HIDDEN // (widest * width * self._window))
        found = x.new_empty(height // stride, width // stride, self._out.width)
        for top in range(0, height, rows):
            strip = x[top : top + rows]
            seen = _normed(strip, self._block.norm1).to(self._dtype)
            if self._short is not None:
                strip = self._short(seen)
                strip = _pooled(strip[None])[0] if stride > 1 else strip
            part = found[top // stride : top // stride + len(strip)]
            torch.add(strip, self._attended(seen), out=part)
            flat = part.view(-1, part.shape[-1])
            some = max(1, _HIDDEN // widest) if x.device.type == "cpu" else len(flat)
            for tokens in flat.split(some):
                tokens += self._perceptron(_normed(tokens, self._block.norm2).to(self._dtype))
        return found

    def _perceptron(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self._layers:
            x = layer(x)
        return x

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        """Attention within the windows of a (h, W, C) strip, (h / stride, W / stride, C')."""
        height, width, channels = x.shape
        # Places that fill up a window are zeros to SAM 2: their keys and values are the bias.
        filling = self._qkv.bias.view(3, -1)
        qkv = self._qkv(x.reshape(-1, channels)).view(height, width, 3, -1)
        queries, keys, values = qkv.unbind(2)
        if self._stride > 1:
            queries = _pooled(queries[None])[0]
        inner = self._window // self._stride
        found = attended(
            _windows(queries, inner, self._heads, filling[0]),
            _windows(keys, self._window, self._heads, filling[1]),
            _windows(values, self._window, self._heads, filling[2]),
        )
        height, width, _ = queries.shape
        strip = _joined(found, inner, height, width)
        # As one matrix: a view with gaps would be multiplied row by row, at half the rate.
        return self._out(strip.reshape(-1, strip.shape[-1])).view(height, width, -1)


class _Neck:
    """The neck, and the convolutions of the mask decoder that follow it."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        neck, decoder = module.image_encoder.neck, module.sam_mask_decoder
        self._dtype, self._neck = dtype, neck
        self._down = set(neck.fpn_top_down_levels)
        self._kept = len(neck.convs) - module.image_encoder.scalp
        after = [decoder.conv_s0, decoder.conv_s1] if module.use_high_res_features_in_sam else []
        self._layers: list[list[Linear]] = []
        for index, lateral in enumerate(reversed(neck.convs)):
            layers = [_matrix(lateral.conv)]
            if index < len(after):
                layers.append(_matrix(after[index]))
                if not self._down & {index, index - 1}:  # nothing is added or taken in between
                    (inner, shift), (outer, last) = layers
                    layers = [(outer @ inner, outer @ shift + last)]
            self._layers.append([Linear(*layer, dtype) for layer in layers])

    def __call__(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        above: torch.Tensor | None = None
        for index in reversed(range(len(levels))):
            first, *rest = self._layers[index]
            level = first(levels[index].to(self._dtype)).permute(2, 0, 1)[None]
            if above is not None and index in self._down:
                level = level + self._enlarged(above)
                if self._neck.fuse_type == "avg":
                    level = level / 2
            above = level
            for layer in rest:
                level = layer(level[0].permute(1, 2, 0).to(self._dtype)).permute(2, 0, 1)[None]
            found.insert(0, level)
        return found[: self._kept]

    def _enlarged(self, above: torch.Tensor) -> torch.Tensor:
        return F.interpolate(above.float(), scale_factor=2.0, mode=self._neck.fpn_interp_model)


def _windows(x: torch.Tensor, size: int, heads: int, filling: torch.Tensor) -> torch.Tensor:
    """Windows of a (h, W, C) strip by head, (windows, heads, size * size, C / heads).

    The strip is one window where ``size`` is 0. Windows that reach beyond it are filled up.
    """
    height, width, channels = x.shape
    high, wide = size or height, size or width
    if height % high or width % wide:
        full = filling.expand(height + -height % high, width + -width % wide, channels).clone()
        full[:height, :width] = x
        x = full
    parts = x.view(x.shape[0] // high, high, x.shape[1] // wide, wide, heads, channels // heads)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, heads, high * wide, channels // heads)


def _joined(windows: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """The (height, width, C) strip of windows that ``_windows`` made."""
    high, wide = size or height, size or width
    _, heads, _, channels = windows.shape
    down, across = -(-height // high), -(-width // wide)
    parts = windows.view(down, across, heads, high, wide, channels).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(down * high, across * wide, heads * channels)[:height, :width]


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """Largest of each 2 x 2 places of (B, H, W, C) features."""
    above, below = x[:, ::2], x[:, 1::2]
    return torch.maximum(
        torch.maximum(above[:, :, ::2], above[:, :, 1::2]),
        torch.maximum(below[:, :, ::2], below[:, :, 1::2]),
    )


def _normed(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _scaled(layer: torch.nn.Linear, heads: int, dtype: torch.dtype) -> Linear:
    """A layer of queries, keys and values whose queries come scaled."""
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    width = len(bias) // 3
    factors = weight.new_ones(len(bias))
    factors[:width] = (width // heads) ** -0.5
    return Linear(weight * factors[:, None], bias * factors, dtype)


def _matrix(layer: torch.nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A 1 x 1 convolution as weight and bias of a linear layer, in double precision."""
    weight = layer.weight.detach().double()[:, :, 0, 0]
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    return weight, bias
