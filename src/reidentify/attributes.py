"""How well attributes are predicted: accuracy and F1 of each, and their means over what is of people and of sightings.

Accuracy per attribute and its mean over attributes are what Lin et al. report ("Improving Person Re-identification by
Attribute and Identity Learning", Pattern Recognition 2019). Most attributes are far from balanced, hence F1, and beside
it the accuracy of always saying the most frequent value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.values import Attribute

if TYPE_CHECKING:
    from rich.table import Table

Measure = Literal["accuracy", "f1", "majority"]


@dataclass(frozen=True)
class AttributeScore:
    """How well one attribute is predicted. Scores are fractions; NaN where no row is labelled.

    Args:
        name: of the attribute.
        identity: it is of the person, not of the sighting.
        labelled: rows that have a label; the others are left out everywhere.
        accuracy: share of rows whose most probable value is right.
        f1: macro F1: the mean, over the values that occur among the labels, of 2 TP / (2 TP + FP + FN); with two
            values this is the mean of both values' F1, not that of "yes" alone.
        majority: accuracy of always saying the most frequent of the labels, to compare with.
    """

    name: str
    identity: bool
    labelled: int
    accuracy: float
    f1: float
    majority: float


@dataclass(frozen=True)
class AttributeScores:
    """Scores of every attribute of a schema, in its order; prints as a table in percent."""

    attributes: tuple[AttributeScore, ...]

    def mean(self, measure: Measure = "accuracy", identity: bool | None = None) -> float:
        """Mean of a measure over the attributes that have labels.

        Args:
            measure: "accuracy", "f1" or "majority".
            identity: only attributes of people (True) or of sightings (False); None: all.

        Returns:
            A fraction; NaN without any labelled attribute.
        """
        chosen = [a for a in self.attributes if a.labelled and identity in (None, a.identity)]
        return float(np.mean([getattr(a, measure) for a in chosen])) if chosen else float("nan")

    def means(self) -> Iterator[tuple[str, dict[Measure, float]]]:
        """The means over the attributes of people, of sightings, and over all, where there are labels."""
        measures: tuple[Measure, ...] = ("accuracy", "f1", "majority")
        groups: dict[str, bool | None] = {"identity": True, "sighting": False, "all": None}
        for name, group in groups.items():
            found = {m: self.mean(m, group) for m in measures}
            if np.isfinite(found["accuracy"]):
                yield name, found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: `attributes` by name and `means` by group; None where no row is labelled."""
        per_attribute = {}
        for score in self.attributes:
            values = {k: v for k, v in asdict(score).items() if k != "name"}
            per_attribute[score.name] = {k: None if np.isnan(v) else v for k, v in values.items()}
        return {"attributes": per_attribute, "means": dict(self.means())}

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title="Attributes, in %", title_justify="left")
        for head in ("attribute", "of the", "labelled", "accuracy", "macro F1", "most frequent value"):
            table.add_column(head, justify="left" if head in ("attribute", "of the") else "right")

        def row(name: str, group: str, labelled: str, *values: float, last: bool = False) -> None:
            cells = ["" if np.isnan(v) else f"{100 * v:.1f}" for v in values]
            table.add_row(Text(name), group, labelled, *cells, end_section=last)

        for i, a in enumerate(self.attributes, start=1):
            row(a.name, _of(a), f"{a.labelled:,}", a.accuracy, a.f1, a.majority, last=i == len(self.attributes))
        for name, found in self.means():
            row("mean", {"identity": "person", "sighting": "sighting", "all": "all"}[name], "", *found.values())
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, no_color=True)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip()


def comparable(told: Sequence[Attribute], labelled: Sequence[Attribute], data: str) -> tuple[list[Attribute], str]:
    """Which attributes a network can be scored on: those that mean the same to it and to the data.

    Args:
        told: what the network tells.
        labelled: what the data has labels of.
        data: its name.

    Returns:
        The attributes in the order of `told` that the data has with the same values in the same order, of people or of
        sightings alike; and a line that names the others of either side and why they are not scored, empty if there
        are none.
    """
    there, common, others = {a.name: a for a in labelled}, list[Attribute](), dict[str, list[str]]()
    for mine in told:
        other = there.pop(mine.name, None)
        if other == mine:
            common.append(mine)
        else:
            others.setdefault(_difference(mine, other, data), []).append(mine.name)
    if there:
        others["not told by the network"] = list(there)
    parts = (f"{', '.join(names)} ({why})" for why, names in others.items())
    return common, f"attributes not scored: {'; '.join(parts)}" if others else ""


def _difference(mine: Attribute, other: Attribute | None, data: str) -> str:
    """Why what a network tells is not what the data has labels of."""
    if other is None:
        return f"no labels in {data}"
    if len(mine.values) != len(other.values):
        return f"{len(mine.values)} values in the network, {len(other.values)} in {data}"
    for number, (said, labelled) in enumerate(zip(mine.values, other.values)):
        if said != labelled:
            return f"value {number} is {said} in the network, {labelled} in {data}"
    return f"of the {_of(mine)} in the network, of the {_of(other)} in {data}"


def _of(attribute: Attribute) -> str:
    return "person" if attribute.identity else "sighting"


def scores(
    predicted: Mapping[str, NDArray[Any]], truth: Mapping[str, NDArray[np.int64]], schema: Sequence[Attribute]
) -> AttributeScores:
    """Compare predictions with labels.

    Args:
        predicted: by attribute, N x V, probabilities or logits of its V values; the largest is taken, the first of
            several equal ones.
        truth: by attribute, N, int64, from 0 to V - 1; -1 where unlabelled.
        schema: the attributes to score.

    Raises:
        InputError: an attribute is missing, has another shape than stated, a label that there is not, or a prediction
            that is not a number.
    """
    return AttributeScores(tuple(_score(attribute, predicted, truth) for attribute in schema))


def _score(
    attribute: Attribute, predicted: Mapping[str, NDArray[Any]], truth: Mapping[str, NDArray[np.int64]]
) -> AttributeScore:
    name, count = attribute.name, len(attribute.values)
    for what, given in (("predictions", predicted), ("labels", truth)):
        if name not in given:
            raise InputError(f"attribute {name}: there are no {what} of it, only of {', '.join(given) or 'nothing'}")
    values, labels = np.asarray(predicted[name]), np.asarray(truth[name])
    if labels.ndim != 1 or values.shape != (len(labels), count):
        raise InputError(
            f"attribute {name}: expected N labels and N x {count} predictions, got {labels.shape} and {values.shape}"
        )
    wrong = np.flatnonzero((labels < -1) | (labels >= count))
    if len(wrong):
        raise InputError(f"attribute {name}: row {wrong[0]} has the label {labels[wrong[0]]}, not 0 to {count - 1}")
    known = labels >= 0
    wrong = np.flatnonzero(np.isnan(values).any(axis=1) & known)
    if len(wrong):
        raise InputError(f"attribute {name}: the prediction of row {wrong[0]} is not a number")
    if not known.any():
        nan = float("nan")
        return AttributeScore(name, attribute.identity, 0, nan, nan, nan)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels[known], values[known].argmax(axis=1)), 1)
    right, labelled, said = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = labelled > 0
    return AttributeScore(
        name,
        attribute.identity,
        labelled=int(known.sum()),
        accuracy=float(right.sum() / known.sum()),
        # Labelled is TP + FN and said is TP + FP.
        f1=float((2 * right[present] / (labelled + said)[present]).mean()),
        majority=float(labelled.max() / known.sum()),
    )
