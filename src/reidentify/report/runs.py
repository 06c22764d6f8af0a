"""Curves of several trainings in one picture: runs that differ in their seed alone are one curve."""

from __future__ import annotations

import csv
import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.report.charts import Theme, canvas, to_png

_IGNORED = ("run.seed", "description")
_UNSTATED = "unstated"
"""Of a setting that one run states and another, of another version of the package, does not."""


@dataclass(frozen=True)
class Curve:
    """One value over the epochs of runs that differ in their seed alone.

    Args:
        name: in what these runs differ from the others.
        epochs: E, at which every run has the value.
        values: R x E.
    """

    name: str
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


def curves(folders: Sequence[str | os.PathLike[str]], value: str) -> list[Curve]:
    """What the `history.csv` of run folders say of one value.

    Args:
        folders: of trainings, finished or not.
        value: a column, e.g. "validation/mAP".

    Returns:
        One curve for each recipe and data, in the order of the folders.

    Raises:
        InputError: a folder is no run, says nothing of the value, or has no epoch in common with those of its curve.
    """
    told = [_read(Path(folder), value) for folder in folders]
    settings = [stated for stated, _ in told]
    keys = dict.fromkeys(k for one in settings for k in one)
    differing = sorted(k for k in keys if len({one.get(k, _UNSTATED) for one in settings}) > 1)
    groups: dict[str, list[int]] = {}
    for i, one in enumerate(settings):
        stated = (f"{k}={one.get(k, _UNSTATED)}" for k in differing)
        groups.setdefault(", ".join(stated) or value, []).append(i)
    found = []
    for name, runs in groups.items():
        epochs = sorted(set.intersection(*(set(told[i][1]) for i in runs)))
        if not epochs:
            named = ", ".join(str(folders[i]) for i in runs)
            raise InputError(f"{named}: these runs have {value} of no epoch in common")
        found.append(Curve(name, np.array(epochs), np.array([[told[i][1][e] for e in epochs] for i in runs])))
    return found


def _read(folder: Path, value: str) -> tuple[dict[str, str], dict[int, float]]:
    """The settings of a run, and the value of each epoch that has it."""
    try:
        settings = _settings(json.loads((folder / "recipe.json").read_text()))
        with open(folder / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        known = {int(row["epoch"]): float(row[value]) for row in rows if row.get(value)}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{folder}: not the folder of a training that has ended an epoch ({error})") from None
    if not known:
        columns = ", ".join(k for k in rows[0] if k != "epoch") if rows else "none"
        raise InputError(f"{folder}: says nothing of {value}; it has {columns}")
    return settings, known


def _settings(stated: Mapping[str, Any]) -> dict[str, str]:
    """Data and settings of a run, without seed and description, as text."""
    flat = {k: json.dumps(v) for k, v in stated.items() if k != "recipe"}
    for section, values in stated["recipe"].items():
        inner = values if isinstance(values, Mapping) else {"": values}
        flat |= {f"{section}.{k}".rstrip("."): json.dumps(v, sort_keys=True) for k, v in inner.items()}
    return {k: v.strip('"') for k, v in flat.items() if k not in _IGNORED}


def chart(found: Sequence[Curve], value: str, theme: Theme) -> bytes:
    """The mean over the runs of each curve, every run as a thin line behind it, as PNG."""
    from matplotlib import colormaps

    figure, axes = canvas(theme, (7.2, 4.4))
    colours = [theme.same, theme.different, *map(tuple, colormaps["Set2"].colors[2:])]  # type: ignore[attr-defined]
    for i, curve in enumerate(found):
        colour = colours[i % len(colours)]
        if len(curve.values) > 1:
            axes.plot(curve.epochs, curve.values.T, color=colour, linewidth=0.9, alpha=0.45)
        runs = f" (mean of {len(curve.values)} runs)" if len(curve.values) > 1 else ""
        name = textwrap.fill(f"{curve.name}{runs}", 64)
        axes.plot(curve.epochs, curve.values.mean(0), color=colour, linewidth=2.2, marker="o", label=name)
    axes.set(xlabel="epoch", ylabel=value)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(frameon=False, labelcolor=theme.ink, loc="outside lower center")
    return to_png(figure)
