"""Drawn people: small synthetic pictures whose colours are an identity."""

import numpy as np
from PIL import Image, ImageDraw


def draw_person(identity: int, seed: int, size: tuple[int, int] = (32, 64)) -> Image.Image:
    """A figure whose colours are its identity's, on a random ground."""
    colours = np.random.default_rng(identity).integers(30, 226, (2, 3))
    rng = np.random.default_rng([identity, seed])
    image = Image.new("RGB", size, tuple(rng.integers(60, 200, 3).tolist()))
    draw, (w, h) = ImageDraw.Draw(image), size
    dx = int(rng.integers(-3, 4))
    draw.ellipse((w // 2 - 5 + dx, 3, w // 2 + 5 + dx, 14), (210, 170, 140))
    draw.rectangle((w // 2 - 8 + dx, 14, w // 2 + 8 + dx, h // 2 + 3), tuple(colours[0].tolist()))
    draw.rectangle((w // 2 - 6 + dx, h // 2 + 3, w // 2 + 6 + dx, h - 3), tuple(colours[1].tolist()))
    return image
