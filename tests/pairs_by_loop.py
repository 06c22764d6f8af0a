"""The layers of pairwise networks, straight from their definitions: one position after another, in float64."""

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def patch(maps: F64, y: int, x: int) -> F64:
    """The 5 x 5 patch of a map around a position, 0 outside the map."""
    height, width = maps.shape
    found = np.zeros((5, 5))
    for i in range(5):
        for j in range(5):
            v, u = y + i - 2, x + j - 2
            if 0 <= v < height and 0 <= u < width:
                found[i, j] = maps[v, u]
    return found


def correlation(p: F64, q: F64) -> float:
    """Of two patches: covariance over the product of standard deviations, each with 0.01 added."""
    stds = [float(patch.std(ddof=1)) + 0.01 for patch in (p, q)]
    return float(((p - p.mean()) * (q - q.mean())).sum() / (24 * stds[0] * stds[1]))


def normalised_correlation(a: F64, b: F64) -> F64:
    """C x h x w twice to (C * 5 * w) x h x w."""
    channels, height, width = a.shape
    found = np.zeros((channels, 5, width, height, width))
    for c in range(channels):
        patches = [[patch(b[c], v, u) for u in range(width)] for v in range(height)]
        for y in range(height):
            for x in range(width):
                own = patch(a[c], y, x)
                for r in range(5):
                    if 0 <= y + r - 2 < height:
                        for u in range(width):
                            found[c, r, u, y, x] = correlation(own, patches[y + r - 2][u])
    return found.reshape(-1, height, width)


def neighbourhood_difference(a: F64, b: F64) -> F64:
    """C x h x w twice to (C * 25) x h x w."""
    channels, height, width = a.shape
    found = np.zeros((channels, 25, height, width))
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                found[c, :, y, x] = np.maximum(0, a[c, y, x] - patch(b[c], y, x)).ravel()
    return found.reshape(-1, height, width)
