"""Repeatable noise over the plane, for textures, and the random streams everything else draws from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random generator that belongs to `key` alone, so that no result depends on the order of the work."""
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def cells(i: NDArray[np.integer], j: NDArray[np.integer], seed: int = 0) -> F32:
    """A value in [0, 1) for each integer cell (i, j): the same cell has the same value."""
    h = i.astype(np.uint32) * np.uint32(0x9E3779B1) ^ j.astype(np.uint32) * np.uint32(0x85EBCA77)
    h ^= np.uint32((seed * 0x27D4EB2F) & 0xFFFFFFFF)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def smooth(x: F32, y: F32, seed: int = 0) -> F32:
    """Value noise in [0, 1) with features about one unit wide."""
    i, j = np.floor(x), np.floor(y)
    fx, fy = (x - i).astype(np.float32), (y - j).astype(np.float32)
    i, j = i.astype(np.int64), j.astype(np.int64)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    low = cells(i, j, seed) * (1 - fx) + cells(i + 1, j, seed) * fx
    high = cells(i, j + 1, seed) * (1 - fx) + cells(i + 1, j + 1, seed) * fx
    return low * (1 - fy) + high * fy


def rough(x: F32, y: F32, octaves: int, seed: int = 0) -> F32:
    """Fractal noise in [0, 1): each octave half as wide and half as strong."""
    total, weight = np.zeros(np.shape(x), np.float32), 0.0
    for k in range(octaves):
        total += smooth(x * 2.0**k, y * 2.0**k, seed + 101 * k) * np.float32(0.5**k)
        weight += 0.5**k
    return total / np.float32(weight)
