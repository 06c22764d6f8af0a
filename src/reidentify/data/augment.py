"""Augmentation from Batch to Batch, on the batch's own device, every draw from one seeded generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reidentify.batch import Batch
from reidentify.errors import InputError
from reidentify.joints import mirrored_joints

_TRIES = 10
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augment:
    """What is done to a training batch; every probability is per draw.

    A joint that leaves the image or is covered becomes unseen.

    Args:
        flip: probability of a mirror image; left and right joints change places.
        pad: pixels of black added on every side before a random crop of the original size; 0 for none.
        erase: probability of random erasing (Zhong et al., AAAI 2020).
        erase_area: smallest and largest share of the image that is erased.
        erase_aspect: smallest height-to-width ratio of the erased box; the largest is its inverse.
        patch: probability of covering a box with the same box of another image of the batch (random patch,
            Zhou et al. 2021, section 5.1, there from a pool of earlier images).
        brightness: factor drawn from 1 - brightness to 1 + brightness.
        contrast: likewise, around the mean grey of the image.
        saturation: likewise, around the grey of each pixel.
        per_frame: draw anew for every frame of a clip instead of once per clip.
    """

    flip: float = 0.5
    pad: int = 10
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: float = 0.3
    patch: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    per_frame: bool = False

    def __post_init__(self) -> None:
        low, high = self.erase_area
        shares = (self.flip, self.erase, self.patch, self.brightness, self.contrast, self.saturation, low, high)
        if not all(0 <= value <= 1 for value in shares) or low > high:
            raise InputError("augment: probabilities, strengths and erase_area must lie between 0 and 1")
        if self.pad < 0 or not 0 < self.erase_aspect <= 1:
            raise InputError("augment: pad must be at least 0 and erase_aspect above 0 and at most 1")

    def __call__(self, batch: Batch, generator: torch.Generator, fill: Tensor | float = 0.0) -> Batch:
        """The augmented batch; its pixels become float32 from 0 to 1.

        Args:
            batch: B rows of T frames, pixels uint8 or float from 0 to 1.
            generator: a CPU generator; the draws do not depend on the device.
            fill: what erased pixels become: a number or 3 channel means, from 0 to 1.
        """
        b, t = batch.pixels.shape[:2]
        draws = (b, t) if self.per_frame else (b, 1)

        def uniform(*shape: int) -> Tensor:
            drawn = torch.rand(*draws, *shape, generator=generator)
            return drawn.expand(b, t, *shape).flatten(0, 1)

        batch = self._flipped(batch, uniform() < self.flip) if self.flip else batch
        batch = self._cropped(batch, uniform(2)) if self.pad else batch
        pixels = batch.pixels.flatten(0, 1)
        pixels = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float().clone()
        if self.brightness or self.contrast or self.saturation:
            pixels = self._coloured(pixels, uniform(3).to(pixels.device))
        height, width = pixels.shape[-2:]
        joints = None if batch.keypoints is None else batch.keypoints.flatten(0, 1).clone()

        def hide(i: int, rows: slice, columns: slice) -> None:
            """What is covered is no longer seen."""
            if joints is not None:
                x, y = joints[i, :, 0] + 0.5, joints[i, :, 1] + 0.5  # from the centres of pixels to their edges
                inside = (x >= columns.start) & (x < columns.stop) & (y >= rows.start) & (y < rows.stop)
                joints[i, inside, 2] = 0

        if self.patch:
            donors = pixels.clone()
            other = torch.randperm(b, generator=generator).tolist()
            for i, rows, columns in self._boxes(uniform() < self.patch, uniform(_TRIES, 4), height, width):
                pixels[i, :, rows, columns] = donors[other[i // t] * t + i % t, :, rows, columns]
                hide(i, rows, columns)
        if self.erase:
            value = torch.as_tensor(fill, dtype=pixels.dtype, device=pixels.device).reshape(-1, 1, 1)
            for i, rows, columns in self._boxes(uniform() < self.erase, uniform(_TRIES, 4), height, width):
                pixels[i, :, rows, columns] = value
                hide(i, rows, columns)
        keypoints = None if joints is None else joints.reshape(b, t, *joints.shape[1:])
        return batch.replace(pixels=pixels.reshape(b, t, *pixels.shape[1:]), keypoints=keypoints)

    def _flipped(self, batch: Batch, which: Tensor) -> Batch:
        b, t = batch.pixels.shape[:2]
        which = which.reshape(b, t).to(batch.pixels.device)

        def mirror(x: Tensor) -> Tensor:
            mirrored = x.clone()
            mirrored[which] = x[which].flip(-1)
            return mirrored

        changes = {"pixels": mirror(batch.pixels)}
        if batch.masks is not None:
            changes["masks"] = mirror(batch.masks)
        if (joints := batch.keypoints) is not None:
            swapped = joints[:, :, mirrored_joints(joints.shape[2])]
            swapped[..., 0] = batch.pixels.shape[-1] - 1 - swapped[..., 0]
            changes["keypoints"] = torch.where(which[..., None, None], swapped, joints)
        return batch.replace(**changes)

    def _cropped(self, batch: Batch, draw: Tensor) -> Batch:
        """Shift by up to `pad` pixels either way: what a crop out of the padded image shows."""
        b, t = batch.pixels.shape[:2]
        height, width = batch.pixels.shape[-2:]
        shift = ((2 * self.pad + 1) * draw).long() - self.pad  # n x 2, down and right, from -pad to pad

        def shifted(x: Tensor) -> Tensor:
            frames, moved = x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1))
            for i, (down, right) in enumerate(shift.tolist()):
                to_y, from_y = _overlap(down, height)
                to_x, from_x = _overlap(right, width)
                moved[i, ..., to_y, to_x] = frames[i, ..., from_y, from_x]
            return moved.reshape(x.shape)

        changes = {"pixels": shifted(batch.pixels)}
        if batch.masks is not None:
            changes["masks"] = shifted(batch.masks)
        if (joints := batch.keypoints) is not None:
            joints = joints.clone()
            joints[..., :2] += shift.flip(-1).reshape(b, t, 1, 2).to(joints)
            limit = joints.new_tensor([width - 0.5, height - 0.5])  # the image reaches half a pixel beyond its centres
            outside = ((joints[..., :2] < -0.5) | (joints[..., :2] > limit)).any(-1)
            joints[..., 2] = torch.where(outside, torch.zeros_like(joints[..., 2]), joints[..., 2])
            changes["keypoints"] = joints
        return batch.replace(**changes)

    def _coloured(self, pixels: Tensor, draw: Tensor) -> Tensor:
        strength = torch.tensor([self.brightness, self.contrast, self.saturation], device=pixels.device)
        bright, contrast, saturation = (1 + (2 * draw - 1) * strength).T[:, :, None, None, None]
        weights = torch.tensor(_GREY, device=pixels.device).reshape(1, 3, 1, 1)
        pixels = (pixels * bright).clamp(0, 1)
        mean = (pixels * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        pixels = (mean + (pixels - mean) * contrast).clamp(0, 1)
        grey = (pixels * weights).sum(1, keepdim=True)
        return (grey + (pixels - grey) * saturation).clamp(0, 1)

    def _boxes(self, which: Tensor, draw: Tensor, height: int, width: int) -> Iterator[tuple[int, slice, slice]]:
        """A random box in each chosen image: its number, rows and columns. Of several tries the first that fits."""
        low, high = self.erase_area
        area = (low + (high - low) * draw[..., 0]) * height * width
        aspect = self.erase_aspect + (1 / self.erase_aspect - self.erase_aspect) * draw[..., 1]
        h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (h < height) & (w < width)
        y, x = (draw[..., 2] * (height - h)).floor(), (draw[..., 3] * (width - w)).floor()
        boxes = torch.stack([y, y + h, x, x + w], -1).long()
        first = fits.float().argmax(1)
        for i in torch.nonzero(which & fits.any(1)).flatten().tolist():
            top, bottom, left, right = boxes[i, first[i]].tolist()
            yield i, slice(top, bottom), slice(left, right)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where `size` pixels moved by `shift` land, and where they come from."""

    def within(position: int) -> int:
        return min(max(position, 0), size)

    return slice(within(shift), within(size + shift)), slice(within(-shift), within(size - shift))
