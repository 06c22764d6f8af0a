"""Types of settings: what they are called, and what fits them."""

from typing import Any, Literal

import numpy as np
import pytest

from reidentify.hints import fits, words
from reidentify.models.catalogue import ModelSettings


@pytest.mark.parametrize(
    ("hint", "name", "good", "bad"),
    [
        (int, "a whole number", [0, -3, np.int64(5)], [True, 1.0, "1", None, [1]]),
        (float, "a number", [0, 1.5, np.float32(2)], [float("nan"), float("inf"), False, "1.5"]),
        (str, "text", ["", "a"], [1, None]),
        (bool, "true or false", [True, False], [0, 1, "yes"]),
        (int | None, "null or a whole number", [None, 2], ["2", 2.5]),
        (int | str, "text or a whole number", [2, "auto"], [None, 2.5]),
        (Literal["rgb", "bgr"], "rgb or bgr", ["rgb"], ["grb", None, ["rgb"]]),
        (Literal[1, 2], "1 or 2", [2], [3, True, 1.0]),
        (list[int], "a list, each a whole number", [[], [1, 2]], [3, [1, "2"], "12"]),
        (tuple[float, float], "a list of 2, each a number", [[1, 2.5], (0, 1)], [[1], [1, 2, 3], 1, "12"]),
        (dict[str, Any], "settings by name", [{}, {"a": [1]}], [[], "a", None]),
        (ModelSettings, "settings by name", [{}, ModelSettings()], [[], "osnet"]),
    ],
)
def test_types(hint: Any, name: str, good: list[Any], bad: list[Any]) -> None:
    assert words(hint) == name
    assert all(fits(value, hint) for value in good)
    assert not any(fits(value, hint) for value in bad)
