"""Person re-identification: is this the same person, seen by another camera at another time?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from reidentify.batch import Batch
from reidentify.errors import (
    ImageError,
    InputError,
    RecipeError,
    ReidentifyError,
    ReidentifyWarning,
    StorageError,
    WeightsError,
)
from reidentify.values import DISTRACTOR, JUNK, Embeddings, Sightings

if TYPE_CHECKING:
    from reidentify.data.benchmark import Benchmark
    from reidentify.data.benchmarks import benchmark
    from reidentify.embed import load
    from reidentify.models.output import Output
    from reidentify.ranking.distance import Scorer
    from reidentify.ranking.evaluate import evaluate, search
    from reidentify.ranking.protocol import Protocol
    from reidentify.ranking.results import Result

__version__ = "0.1.0"

# Loaded when first asked for: torch takes seconds, and most commands do not need it.
_LAZY = {
    "Benchmark": "reidentify.data.benchmark",
    "evaluate": "reidentify.ranking.evaluate",
    "load": "reidentify.embed",
    "benchmark": "reidentify.data.benchmarks",
    "Output": "reidentify.models.output",
    "Protocol": "reidentify.ranking.protocol",
    "Result": "reidentify.ranking.results",
    "Scorer": "reidentify.ranking.distance",
    "search": "reidentify.ranking.evaluate",
}

__all__ = [
    "DISTRACTOR",
    "JUNK",
    "Batch",
    "Benchmark",
    "Embeddings",
    "ImageError",
    "InputError",
    "Output",
    "Protocol",
    "RecipeError",
    "ReidentifyError",
    "ReidentifyWarning",
    "Result",
    "Scorer",
    "Sightings",
    "StorageError",
    "WeightsError",
    "__version__",
    "benchmark",
    "evaluate",
    "load",
    "search",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
