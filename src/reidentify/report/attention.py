"""Where a network looks: its attention maps and class activation maps, laid over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.report.lists import fitted, font

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from reidentify.embed import Model
    from reidentify.models.output import Output

COLOURS = "viridis"
"""Perceptually uniform: equal steps of a map look equally large, in print and to the colour-blind too."""
_HEIGHT, _NAMES, _GAP, _LINE, _BAR = 224, 150, 8, 22, 60


def cam(
    model: Model, pixels: Tensor, reference: NDArray[np.float32] | None = None, valid: Tensor | None = None
) -> NDArray[np.float32]:
    """What of a picture makes its embedding: Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2).

    The channels of the last feature maps are weighted by the mean gradient of a target, and their sum is kept where it
    is above 0. With a reference the target is the cosine similarity to it. That of an embedding with itself is 1
    whatever it is, so without a reference the target is the length of the embedding before it is scaled to 1 (of a
    network of stripes: of each stripe, added up). A frame of a clip has weights of its own; where convolutions over
    time have mixed them, all frames share theirs.

    Args:
        model: a network of this package.
        pixels: N x 3 x H x W, uint8, RGB, as `Model.describe` takes them; N x T x 3 x H x W for a network of clips.
        reference: D, an embedding from the same model, such as one of another picture of the person.
        valid: N x T, bool; False where a frame is padding, at the end of a clip. None: all are real.

    Returns:
        N x h x w, or N x T x h x w for clips, with zeros at padding; at least 0, of no set scale.

    Raises:
        InputError: the network is a foreign one, or has no feature maps to look at.
    """
    if pixels.ndim == 4:
        return _activations(model, pixels, reference)
    lengths = [pixels.shape[1]] * len(pixels) if valid is None else valid.sum(1).tolist()
    found = [_activations(model, clip[None, :length], reference) for clip, length in zip(pixels, lengths)]
    return np.stack([np.pad(maps, ((0, pixels.shape[1] - len(maps)), (0, 0), (0, 0))) for maps in found])


def _activations(model: Model, pixels: Tensor, reference: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Grad-CAM of images, N x h x w, or of the frames of one clip, T x h x w."""
    network = _network(model)
    trunk = getattr(network, "backbone", None) or getattr(network, "conv5", None)
    if trunk is None:
        raise InputError(f"{model.card.name}: a {type(network).__name__} has no last feature maps to explain it by")
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, maps: Tensor) -> Tensor:
        kept.append(maps.detach().requires_grad_())  # nothing before the maps needs a gradient
        return kept[-1]

    hook = getattr(trunk, "last", trunk).register_forward_hook(keep)
    try:
        # cuDNN goes backward through a recurrent layer in training mode only.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            output = _outputs(model, pixels, None)
            stripes = getattr(network, "num_parts", 1)
            raw = output.embedding if stripes == 1 or output.parts is None else output.parts.flatten(1)
            parts = raw.unflatten(1, (stripes, -1)).float()
            if reference is None:
                target = parts.norm(dim=2).sum()
            else:
                wanted = torch.as_tensor(reference, device=parts.device).reshape(1, *parts.shape[1:])
                target = F.cosine_similarity(parts, wanted, dim=2).sum()
            (gradient,) = torch.autograd.grad(target, kept[0])
    finally:
        hook.remove()
    # Of pictures or frames N x C x h x w; after convolutions over time 1 x C x T' x h x w.
    maps = kept[0].detach().float()
    weights = gradient.float().mean(tuple(range(2, maps.ndim)), keepdim=True)
    found = F.relu((weights * maps).sum(1))
    if found.ndim == 4:
        size = (pixels.shape[1], *found.shape[2:])
        found = F.interpolate(found[None], size, mode="trilinear", align_corners=False)[0, 0]
    return found.cpu().numpy()


@torch.inference_mode()
def attention(model: Model, pixels: Tensor, valid: Tensor | None = None) -> dict[str, NDArray[np.float32]]:
    """The maps that a network attends by, by name: N x T x h x w each, 1 x 1 where frames are weighted whole; of body
    parts the largest in each cell.

    Args:
        model: a network of this package.
        pixels, valid: as in `cam`.

    Raises:
        InputError: the network is a foreign one.
    """
    maps = _outputs(model, pixels, valid).maps
    if model.wants_keypoints:
        maps = {name: parts.amax(1, keepdim=True) for name, parts in maps.items()}
    return {name: found.float().cpu().numpy() for name, found in maps.items()}


def _network(model: Model) -> nn.Module:
    if model.network is None:
        raise InputError(
            f"{model.card.name}: a foreign network does not show its feature maps; use weights of this package"
        )
    return model.network


def _outputs(model: Model, pixels: Tensor, valid: Tensor | None) -> Output:
    ready = model.card.preprocessing.apply(pixels.to(model.device))
    if model.wants_keypoints:
        return _network(model)(ready, None, model.find_joints(pixels.to(model.device)))
    if pixels.ndim == 4:
        return _network(model)(ready)
    return _network(model)(ready, None, None if valid is None else valid.to(model.device))


def overlay(
    image: NDArray[np.uint8], values: NDArray[np.float32], low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """A map over a picture: the map's colours on the picture in grey.

    Args:
        image: H x W x 3, uint8, RGB.
        values: h x w; enlarged to the picture by bilinear interpolation.
        low, high: values at the two ends of the colour map; default the smallest and the largest of `values`.

    Returns:
        H x W x 3, uint8.
    """
    from matplotlib import colormaps
    from PIL import Image

    low, high = float(values.min()) if low is None else low, float(values.max()) if high is None else high
    picture = Image.fromarray(image)
    scaled = ((values - low) / (high - low) if high > low else np.zeros_like(values)).astype(np.float32)
    large = np.asarray(Image.fromarray(scaled).resize(picture.size, Image.Resampling.BILINEAR))
    colours = 255 * colormaps[COLOURS](large.clip(0, 1))[:, :, :3]
    grey = np.asarray(picture.convert("L"), np.float32)[:, :, None]
    return np.round(0.45 * grey + 0.55 * colours).astype(np.uint8)


def tracklet_sheet(
    frames: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.float32]],
    labels: Sequence[str] | None = None,
    columns: int = 8,
) -> Image.Image:
    """Frames side by side, and below them each map over them, as one picture.

    A row of maps has one scale for all frames, stated at its left. A map of one value per frame is drawn as bars.

    Args:
        frames: T x H x W x 3, uint8, RGB.
        maps: by name, T x h x w each.
        labels: what is written above each frame; default their numbers from 1.
        columns: frames in a line; the others follow below.

    Raises:
        InputError: no frame, or a map of another number of frames.
    """
    from PIL import Image, ImageDraw

    if not len(frames):
        raise InputError("there is no frame to draw")
    for name, values in maps.items():
        if values.ndim != 3 or len(values) != len(frames):
            raise InputError(f"map {name}: expected {len(frames)} x h x w, got {' x '.join(map(str, values.shape))}")
    labels = [f"frame {i + 1}" for i in range(len(frames))] if labels is None else labels
    width = max(round(_HEIGHT * frames.shape[2] / frames.shape[1]), _NAMES // 2)
    heights = {name: _HEIGHT if values[0].size > 1 else _BAR for name, values in maps.items()}
    block = _LINE + _HEIGHT + _GAP + sum(height + _GAP for height in heights.values()) + 2 * _GAP
    lines = -(-len(frames) // columns)
    size = _NAMES + min(columns, len(frames)) * (width + _GAP) + _GAP, lines * block + _GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for line in range(lines):
        shown = range(line * columns, min((line + 1) * columns, len(frames)))
        top = _GAP + line * block + _LINE
        lefts = {i: _NAMES + (i - shown.start) * (width + _GAP) for i in shown}
        pictures = {i: Image.fromarray(frames[i]).resize((width, _HEIGHT), Image.Resampling.BICUBIC) for i in shown}
        for i, left in lefts.items():
            draw.text((left, top - _LINE), fitted(labels[i], width, 14), "#222222", font(14))
            sheet.paste(pictures[i], (left, top))
        top += _HEIGHT + _GAP
        for name, values in maps.items():
            if heights[name] == _HEIGHT:
                low, high = float(values.min()), float(values.max())
                _scale(sheet, draw, name, top, low, high)
                for i, left in lefts.items():
                    over = overlay(np.asarray(pictures[i]), values[i], low, high)
                    sheet.paste(Image.fromarray(over), (left, top))
            else:
                draw.text((_GAP, top), fitted(name, _NAMES - 2 * _GAP, 15), "#222222", font(15))
                _bars(draw, {i: float(values[i, 0, 0]) for i in shown}, lefts, width, top, float(values.max()))
            top += heights[name] + _GAP
    return sheet


def _scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, name: str, top: int, low: float, high: float) -> None:
    """The name of a row, and what its colours stand for."""
    from matplotlib import colormaps
    from PIL import Image

    draw.text((_GAP, top), fitted(name, _NAMES - 2 * _GAP, 15), "#222222", font(15))
    height = _HEIGHT - 3 * _LINE
    ramp = np.repeat(255 * colormaps[COLOURS](np.linspace(1, 0, height))[:, None, :3], 14, axis=1)
    sheet.paste(Image.fromarray(ramp.round().astype(np.uint8)), (_GAP, top + 2 * _LINE))
    draw.text((_GAP + 22, top + 2 * _LINE - 4), f"{high:.3g}", "#444444", font(13))
    draw.text((_GAP + 22, top + 2 * _LINE + height - 14), f"{low:.3g}", "#444444", font(13))


def _bars(
    draw: ImageDraw.ImageDraw, values: Mapping[int, float], lefts: Mapping[int, int], width: int, top: int, high: float
) -> None:
    """A bar and its number for each frame; the highest of all frames is full."""
    room = _BAR - _LINE
    for i, left in lefts.items():
        tall = round(room * max(values[i], 0) / high) if high > 0 else 0
        draw.rectangle((left, top, left + width - 1, top + room), "#e9e9e9")
        if tall:
            draw.rectangle((left, top + room - tall, left + width - 1, top + room), "#3b528b")
        draw.text((left, top + room + 2), f"{values[i]:.3f}", "#444444", font(14))
