"""The types of settings, for people: what a type is called, and whether plain data fits it."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def words(hint: Any) -> str:
    """What a value of this type is called, as in "expected a whole number"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (list, tuple):
        count = "" if origin is list else f" of {len(inner)}"
        return f"a list{count}, each {words(inner[0])}"
    if inner and origin is not dict:
        return " or ".join(words(one) for one in reversed(inner))  # null first: what is said of a number follows it
    return _WORDS.get(hint, "settings by name")


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data, as from JSON, is of this type. A whole number is a number; NaN and infinity are not."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin in (list, tuple):
        each = inner * len(value) if origin is list and isinstance(value, (list, tuple)) else inner
        return isinstance(value, (list, tuple)) and len(value) == len(each) and all(map(fits, value, each))
    if dataclasses.is_dataclass(hint) or origin is dict:
        return isinstance(value, (Mapping, origin or hint))
    if inner:
        return any(fits(value, one) for one in inner)
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint)
