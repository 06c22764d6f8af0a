"""Cameras: where they hang, how they project, and what their sensors do to light."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.street.noise import stream

F32 = NDArray[np.float32]
WIDTH, HEIGHT = 960, 540


@dataclass(frozen=True)
class Sensor:
    """What happens between light and file.

    Args:
        balance: gain of red, green and blue: the camera's colour cast.
        exposure: relative brightness aimed at.
        lift: black level, 0 to 1; raised blacks make a flat picture.
        contrast: slope of the tone curve.
        saturation: 1 leaves colours as they are.
        blur: standard deviation of the lens blur, pixels of the frame.
        noise: standard deviation of the noise by day, grey levels of 255.
        quality: of the JPEG files.
    """

    balance: tuple[float, float, float]
    exposure: float
    lift: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: int


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated pinhole camera: `x ~ K (R X + t)`, X in metres of its site (x right, y ahead, z up).

    Args:
        camid: 1, 2, ...
        K: 3 x 3, pixels.
        R: 3 x 3, site to camera (camera axes: right, down, ahead).
        t: 3, metres.
        sensor: what happens to the light.
    """

    camid: int
    K: NDArray[np.float64]
    R: NDArray[np.float64]
    t: NDArray[np.float64]
    sensor: Sensor

    @property
    def centre(self) -> NDArray[np.float64]:
        """Position in the site, metres."""
        return -self.R.T @ self.t

    def project(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (N x 2) and depths (N, metres along the axis) of N points of the site."""
        seen = np.asarray(points, np.float64) @ self.R.T + self.t
        depth = np.maximum(seen[:, 2], 1e-6)
        return seen[:, :2] / depth[:, None] * self.K[[0, 1], [0, 1]] + self.K[:2, 2], seen[:, 2]

    def rays(self, x: F32, y: F32) -> F32:
        """Directions (N x 3, depth 1 along the axis) through pixels x, y (N each)."""
        seen = np.stack([(x - self.K[0, 2]) / self.K[0, 0], (y - self.K[1, 2]) / self.K[1, 1], np.ones_like(x)], 1)
        return (seen @ self.R).astype(np.float32)


def camera(seed: int, camid: int, eye: ArrayLike, target: ArrayLike, view: float) -> Camera:
    """A camera at `eye` that looks at `target` with a horizontal field of view of `view` radians."""
    rng = stream(seed, 2, camid)
    position = np.asarray(eye, np.float64)
    ahead = np.asarray(target, np.float64) - position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    roll = rng.normal(0, 0.012)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ rotation
    focal = WIDTH / 2 / np.tan(view / 2)
    matrix = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    warm, tint = rng.normal(0, 0.07), rng.normal(0, 0.03)
    sensor = Sensor(
        balance=(float(np.exp(warm)), float(np.exp(tint)), float(np.exp(-warm))),
        exposure=float(np.exp(rng.normal(0, 0.16))),
        lift=float(rng.uniform(0.02, 0.10)),
        contrast=float(rng.uniform(0.80, 1.08)),
        saturation=float(rng.uniform(0.70, 1.0)),
        blur=float(rng.uniform(0.30, 0.70)),
        noise=float(rng.uniform(1.8, 4.2)),
        quality=int(rng.integers(58, 92)),
    )
    return Camera(camid, matrix, rotation, -rotation @ position, sensor)


def develop(
    radiance: F32, sensor: Sensor, gain: float, white: ArrayLike, dark: float, scale: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Light to grey levels: lens blur, exposure, white balance, tone curve, noise.

    Args:
        radiance: H x W x 3, linear.
        sensor: of the camera.
        gain: exposure chosen by the camera at this moment.
        white: gains of red, green and blue chosen by the camera at this moment.
        dark: 0 by day to 1 by night: noise grows.
        scale: pixels of `radiance` per pixel of the camera's frame, at most 1: a picture made smaller has less noise.
        rng: draws the noise.

    Returns:
        H x W x 3, uint8, sRGB.
    """
    from scipy.ndimage import gaussian_filter

    spread = sensor.blur * (1 + 0.35 * dark) * scale
    light = gaussian_filter(radiance, (spread, spread, 0), mode="nearest", truncate=2.5)
    light *= np.asarray(sensor.balance, np.float32) * np.asarray(white, np.float32) * np.float32(gain * sensor.exposure)
    tone = (1 - np.exp(-1.35 * np.maximum(light, 0))) ** np.float32(1 / 2.2)
    grey = tone @ np.array([0.3, 0.59, 0.11], np.float32)
    tone = grey[..., None] + np.float32(sensor.saturation * (1 - 0.25 * dark)) * (tone - grey[..., None])
    tone = sensor.lift + (1 - sensor.lift) * (0.5 + sensor.contrast * (tone - 0.5))
    strength = sensor.noise * (1 + 0.7 * dark) / 255
    h, w = tone.shape[:2]
    grain = rng.standard_normal((h, w, 1), np.float32) + 0.5 * rng.standard_normal((h, w, 3), np.float32)
    tone += np.float32(strength * max(scale, 0.5)) * grain * (1.15 - 0.5 * tone)
    return (np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """The picture as a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
