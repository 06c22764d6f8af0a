"""Layers that compare the maps of two images position by position."""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reidentify.errors import InputError

PATCH = 5
"""A side of the patch around each position."""
REACH = 2
"""Rows above and below its own in which a position looks for its like."""
EPS = 0.01
"""Added to standard deviations (released code of Subramaniam et al.)."""

_AREA, _ROWS = PATCH * PATCH, 2 * REACH + 1
_SCALE = 1 / math.sqrt(_AREA - 1)
_LARGE = 32 << 20  # bytes from which on glibc keeps no freed memory (DEFAULT_MMAP_THRESHOLD_MAX)


class NormalisedCorrelation(nn.Module):
    """Normalised correlation of patches (Subramaniam et al., "Deep Neural Networks with Inexact Matching for Person
    Re-Identification", NIPS 2016, section 3.1; constants as in the code released with it).

    `forward(a, b)` takes maps B x C x h x w each and returns B x (C * 5 * w) x h x w. Channel (c * 5 + r) * w + x' at
    row y and column x is the correlation of the 5 x 5 patch of a's map c around (y, x) with that of b's map c around
    (y + r - 2, x'):

        sum((p - mean p) (q - mean q)) / (24 (std p + 0.01) (std q + 0.01))

    with standard deviations over 24. Patches that reach over the border are filled up with zeros; a row y + r - 2
    outside the map gives 0. Every patch is standardised once, and only the five rows are multiplied: 60 values a
    position for maps of 37 x 12, where all would be 444. On a CPU this is done pair by pair, so that a pair stays in
    the cache. Patches are computed anew in the backward pass rather than kept; there is no second derivative.

    The result is in float32 (float64 for float64), in `channels_last` memory format: what a 1 x 1 convolution reads.

    Raises:
        InputError: maps of different or of other shapes.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        _check(a, b)
        kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        with torch.autocast(a.device.type, enabled=False):  # differences of near numbers need all their digits
            return cast(Tensor, _Correlation.apply(a.to(kind), b.to(kind)))


class NeighbourhoodDifference(nn.Module):
    """Cross-input neighbourhood differences (Ahmed et al., "An Improved Deep Learning Architecture for Person
    Re-Identification", CVPR 2015, section 3.2).

    `forward(a, b)` takes maps B x C x h x w each and returns K, B x (C * 25) x h x w. Channel c * 25 + 5 dy + dx at
    (y, x) is max(0, a_c(y, x) - b_c(y + dy - 2, x + dx - 2)), where b is 0 outside its map. K' is `forward(b, a)`.

    Raises:
        InputError: maps of different or of other shapes.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        _check(a, b)
        count, channels, height, width = a.shape
        neighbours = F.unfold(-b, PATCH, padding=PATCH // 2).view(count, channels, _AREA, height, width)
        return neighbours.add_(a[:, :, None]).relu_().flatten(1, 2)


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 4 or a.shape != b.shape:
        shapes = " and ".join(" x ".join(map(str, t.shape)) for t in (a, b))
        raise InputError(f"maps to compare: expected two of one shape B x C x h x w, got {shapes}")


def _pairs_at_once(device: torch.device) -> int:
    """A CPU is fastest with what its cache holds, a GPU with few launches."""
    return 1 if device.type == "cpu" else 32


def _empty(shape: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """An empty `channels_last` tensor.

    glibc asks the operating system for so much memory anew each time, and gets it in pages of 4 kB at first touch,
    which takes longer than to fill them; so large pages are asked for where there are such (Linux).
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    _, channels, height, width = shape
    strides = (height * width * channels, 1, width * channels, channels)
    storage = torch.frombuffer(pages, dtype=like.dtype).untyped_storage()
    return like.new_empty(0).set_(storage, 0, shape, strides)  # no view, so that it may be changed in place


def _standardise(maps: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All patches of maps, with mean 0 and divided by sqrt(24) (std + eps).

    Args:
        maps: n x C x h x w.
        out: where to write them.

    Returns:
        Patches n*C x 25 x h*w, and their standard deviations n*C x 1 x h*w.
    """
    count, channels, height, width = maps.shape
    border = PATCH // 2
    padded = F.pad(maps, (border, border, border, border)).flatten(0, 1)
    each, row, column = padded.stride()
    size = (count * channels, PATCH, PATCH, height, width)
    patches = padded.as_strided(size, (each, row, column, row, column)).reshape(len(padded), _AREA, -1)
    patches -= patches.mean(1, keepdim=True)
    std = patches.square().sum(1, keepdim=True).mul_(_SCALE**2).sqrt_()
    return torch.mul(patches, _SCALE / (std + EPS), out=out), std


def _standardise_backward(grad: Tensor, patches: Tensor, std: Tensor, shape: torch.Size) -> Tensor:
    """From the gradient of standardised patches to that of maps of this shape."""
    along = (grad * patches).sum(1, keepdim=True)
    along = torch.where(std > 0, along / std, 0)  # an even patch has no direction
    grad = _SCALE * (grad / (std + EPS) - along * patches)
    grad = grad - grad.mean(1, keepdim=True)
    count, channels, height, width = shape
    columns = grad.reshape(count, channels * _AREA, height * width)
    return F.fold(columns, (height, width), PATCH, padding=PATCH // 2)


class _Correlation(torch.autograd.Function):
    """The correlation of B x C x h x w maps. Rows of b's patches are kept with two empty rows at both ends."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        count, channels, height, width = a.shape
        found = _empty((count, channels * _ROWS * width, height, width), a)
        for chunk in _chunks(a):
            own, other, *_ = _both(a[chunk], b[chunk])
            rows = _by_row(found[chunk], channels)
            for row, left, right in zip(rows, _rows_of(own, width), _bands_of(other, width)):
                if len(row) == 1:
                    torch.bmm(left.mT, right, out=row[0])
                else:
                    row.copy_(torch.bmm(left.mT, right).view(row.shape))
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        channels, width = a.shape[1], a.shape[3]
        edge = REACH * width
        grads = [torch.empty_like(t) if need else None for t, need in zip((a, b), ctx.needs_input_grad)]
        for chunk in _chunks(a):
            own, other, own_std, other_std = _both(a[chunk], b[chunk])
            of_own, of_other = torch.empty_like(own), torch.zeros_like(other)
            left, of_left = _rows_of(own, width), _rows_of(of_own, width)
            right, of_right = _bands_of(other, width), _bands_of(of_other, width)
            for y, rows in enumerate(_by_row(grad[chunk], channels)):
                row = rows.flatten(0, 1)
                torch.bmm(right[y], row.mT, out=of_left[y])
                of_right[y].baddbmm_(left[y], row)
            shape, inside = a[chunk].shape, slice(edge, -edge)
            if grads[0] is not None:
                grads[0][chunk] = _standardise_backward(of_own, own, own_std, shape)
            if grads[1] is not None:
                of_other, other = of_other[..., inside], other[..., inside]
                grads[1][chunk] = _standardise_backward(of_other, other, other_std, shape)
        return grads[0], grads[1]


def _chunks(maps: Tensor) -> list[slice]:
    step = _pairs_at_once(maps.device)
    return [slice(start, min(start + step, len(maps))) for start in range(0, len(maps), step)]


def _both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised patches of a, n*C x 25 x h*w, and of b, n*C x 25 x (h+4)*w; the standard deviations of both."""
    own, own_std = _standardise(a)
    edge = REACH * a.shape[3]
    other = own.new_zeros(*own.shape[:2], own.shape[2] + 2 * edge)
    _, other_std = _standardise(b, out=other[..., edge:-edge])
    return own, other, own_std, other_std


def _rows_of(patches: Tensor, width: int) -> tuple[Tensor, ...]:
    """Patches N x 25 x h*w row by row: h times N x 25 x w."""
    return patches.unflatten(2, (-1, width)).unbind(2)


def _bands_of(patches: Tensor, width: int) -> tuple[Tensor, ...]:
    """Patches N x 25 x (h+4)*w by the five rows around each: h times N x 25 x 5*w, which overlap."""
    return patches.unfold(2, _ROWS * width, width).unbind(2)


def _by_row(correlations: Tensor, channels: int) -> tuple[Tensor, ...]:
    """n x C*5*w x h x w by rows of positions: h times n x C x w x 5*w."""
    return correlations.unflatten(1, (channels, -1)).permute(3, 0, 1, 4, 2).unbind(0)
