"""From similarities to probabilities: a network's calibration in its card, and the verdict on two pictures."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reidentify import files
from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import bases
from reidentify.data.pixels import Picture
from reidentify.embed import Model
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.hints import fits
from reidentify.models.weights import Card, card_path
from reidentify.ranking.calibration import Calibration
from reidentify.ranking.parts import pair_similarities
from reidentify.values import Sightings
from reidentify.zoo.locate import weights_path

FPR = 1e-3
"""The false positive rate whose threshold a verdict states."""


@dataclass(frozen=True)
class Verdict:
    """What a network says of two pictures.

    Args:
        similarity: cosine similarity, -1 to 1 (of the body parts that both show, where the network compares parts).
        probability: that they show one person, 0 to 1.
        prior: the probability before looking, on which it rests.
        same: whether the similarity reaches the threshold at a false positive rate of 1e-3.
        calibration: what the numbers rest on.
    """

    similarity: float
    probability: float
    prior: float
    same: bool
    calibration: Calibration

    def __str__(self) -> str:
        """The verdict and what it rests on."""
        threshold = self.calibration.at(FPR)
        lines = (
            f"same person: {100 * self.probability:.1f} % (prior {100 * self.prior:g} %), similarity"
            f" {self.similarity:.4f}",
            f"threshold at a false positive rate of {FPR:g}: {threshold.similarity:.4f},"
            f" {'reached' if self.same else 'not reached'} (it accepts {100 * threshold.tpr:.1f} % of the pairs of one"
            " person)",
            self.calibration.rests_on,
        )
        return "\n".join(lines)


def set_aside(card: Card, benchmark: Benchmark, fraction: float = 0.1) -> tuple[Sightings, Sightings]:
    """Training rows of a data set, split into those to learn from and those of people the network was not trained on.

    Of the data set that the network was trained on, the latter are the identities that its training held out; of
    another, a share of the training identities.

    Raises:
        InputError: the network was trained on all identities of this data set, or on a variant or part of it.
    """
    seed = 0
    if card.dataset != benchmark.name and bases(card.dataset) & bases(benchmark.name):
        raise InputError(
            f"{card.name} was trained on {card.dataset}, whose people may be in {benchmark.name}: name {card.dataset}"
            " itself, whose held-out people are known, or take other data"
        )
    if card.dataset == benchmark.name:
        fraction = card.training.get("input", {}).get("holdout", 0)
        if not fraction:
            raise InputError(
                f"{card.name} was trained on all identities of {benchmark.name}, so how it judges them says nothing of"
                " others: train with input.holdout above 0, or take other data"
            )
        seed = card.training["run"]["seed"]
    rows, held = benchmark.holdout(fraction, seed)
    return rows, held.sightings


def unseen(card: Card, benchmark: Benchmark) -> Sightings:
    """Rows of people whom the network was not trained on, to calibrate it on: as many as there are.

    Raises:
        InputError: the network was trained on all identities of this data set, or on a variant or part of it.
    """
    if bases(card.dataset) & bases(benchmark.name):
        return set_aside(card, benchmark)[1]
    return benchmark.train if len(benchmark.train) else benchmark.sightings


def calibrate(model: Model, rows: Sightings, data: str, **options: Any) -> Calibration:
    """Fit the calibration of a network. For one that is guided by joints they are found, as `verify` finds them.

    Args:
        model: the network.
        rows: sightings of people it was not trained on.
        data: the name of their data set, for the record.
        options: those of `Model.embed_sightings`.

    Raises:
        InputError: too few people or pairs.
    """
    # Two pictures are compared without their cameras, so cameras do not count here either; and by joints that were
    # found in them, so those of the data set would be better ones.
    rows = rows.replace(keypoints=None) if model.wants_keypoints else rows
    return Calibration.fit(model.embed_sightings(rows, cameras=False, **options), data)


def write_card(
    weights: str | os.PathLike[str],
    card: Card,
    calibration: Calibration,
    flip: bool | None = None,
    scales: Sequence[float] = (1.0,),
) -> Path:
    """Write the card beside the weights with this calibration, and what it was fitted with; returns its path.

    Args:
        weights: as `embed.load` takes them.
        card: that of these weights.
        calibration: goes into the card.
        flip, scales: those that `calibrate` was given, as in `Model.embed_sightings`.
    """
    path = card_path(weights_path(weights))
    stated = {"flip": card.flip if flip is None else flip, "scales": [float(scale) for scale in scales]}
    files.write(path, dataclasses.replace(card, calibration=calibration.to_dict() | stated).to_json())
    return path


def calibration_of(card: Card) -> tuple[Calibration, bool, list[float]]:
    """The calibration in a card, and the flip and the scales of the embeddings that it rests on.

    Raises:
        InputError: there is none, or it makes no sense.
    """
    if not card.calibration:
        raise InputError(
            f"{card.name} has no calibration, so its similarities are no probabilities: run `reidentify calibrate` on"
            " people it was not trained on"
        )
    stated = dict(card.calibration)
    # A card that states neither was written by a training, which embeds as the card says, at the input size.
    flip, scales = stated.pop("flip", card.flip), stated.pop("scales", [1.0])
    if not fits(flip, bool) or not fits(scales, list[float]):
        raise InputError(
            f"calibration: expected flip to be true or false and scales to be a list of numbers, got {flip!r} and"
            f" {scales!r}: calibrate again"
        )
    return Calibration.from_dict(stated), flip, scales


def verify(
    model: Model,
    first: Picture,
    second: Picture,
    prior: float = 0.5,
    flip: bool | None = None,
    scales: Sequence[float] | None = None,
    **options: Any,
) -> Verdict:
    """Say how probably two pictures show one person.

    Args:
        model: a network whose card holds a calibration.
        first, second: a picture of one person each, as `Model.embed` takes them.
        prior: the probability before looking, between 0 and 1.
        flip, scales: as in `Model.embed`; None: as for the calibration. With others a warning says that similarities
            may mean something else.
        options: the others of `Model.embed`.

    Raises:
        InputError: no calibration or one that makes no sense, or a prior that is not between 0 and 1.
        ImageError: a file cannot be read.
    """
    calibration, fitted_flip, fitted_scales = calibration_of(model.card)
    flip, scales = fitted_flip if flip is None else flip, fitted_scales if scales is None else scales
    if flip != fitted_flip or sorted(scales) != sorted(fitted_scales):
        warnings.warn(
            f"{model.card.name} was calibrated {_views(fitted_flip, fitted_scales)} and is used {_views(flip, scales)},"
            " so the probability and the threshold may be off: use it as it was calibrated, or calibrate again",
            ReidentifyWarning,
            stacklevel=2,
        )
    both = model.embed_pictures([first, second], flip=flip, scales=scales, **options)
    similarity = float(pair_similarities(both, np.array([0]), np.array([1]))[0])
    probability = float(calibration.probability(similarity, prior))
    return Verdict(similarity, probability, prior, similarity >= calibration.at(FPR).similarity, calibration)


def _views(flip: bool, scales: Sequence[float]) -> str:
    """The views of a picture that an embedding averages, in words."""
    return f"{'with' if flip else 'without'} mirror images at scales {' '.join(f'{scale:g}' for scale in scales)}"
