"""How right generated people are: recognised by a judge, in the pose that was asked for, and like the real picture."""

from __future__ import annotations

import bisect
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from reidentify import files
from reidentify.data.benchmarks import bases
from reidentify.data.keypoints import resized
from reidentify.data.pairs import strangers
from reidentify.data.pixels import DecodedOnTheFly
from reidentify.errors import InputError, WeightsError
from reidentify.generation import GENERATOR, GeneratorModel
from reidentify.models.skeleton_masks import skeleton_masks
from reidentify.models.weights import Card, card_path
from reidentify.pose import POSE, PoseModel, load_pose, pck, with_joints
from reidentify.ranking.statistics import LEVEL, REPLICATES, Averages, intervals, wilson
from reidentify.values import ROUNDING, Sightings
from reidentify.zoo.locate import weights_path

if TYPE_CHECKING:
    from reidentify.embed import Model

APART = 4.0
"""Seconds after which a picture by the same camera is no longer a near-duplicate."""
_CHUNK = 64  # pictures whose similarity is computed at once
_WINDOW, _SIGMA, _K1, _K2, _LEVELS = 11, 1.5, 0.01, 0.03, 255.0


@dataclass(frozen=True, eq=False)
class Draws:
    """Who is drawn in whose pose; row numbers of sightings.

    Args:
        inputs: N; the picture that the encoder sees.
        targets: N; another picture of the same person: the pose to draw, and what should come out.
        others: N; a picture of somebody else, for the pose alone.
        gallery: K; one picture of every person, none of them an input or a target.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    others: NDArray[np.int64]
    gallery: NDArray[np.int64]


def choose(rows: Sightings, count: int, seed: int = 0) -> Draws:
    """Draw inputs, targets and a gallery at random.

    Everybody has one picture in the gallery. The inputs and targets of a person are others, where there are two such by
    other cameras or at least `APART` seconds away from it, else any others; a person with fewer than three pictures is
    in the gallery alone. The draws are spread over the people as evenly as their pairs of pictures allow. No person has
    the same pair twice, so there are fewer draws than asked for if all pairs of all people are drawn.

    Args:
        rows: images; junk and distractors are left out.
        count: how many pictures to draw.
        seed: of the draws.

    Raises:
        InputError: fewer than two draws, or fewer than two people with three pictures.
    """
    if count < 2:
        raise InputError(f"draws: expected 2 or more, got {count}")
    rng, people, times = np.random.default_rng(seed), rows.identities, rows.row_times()
    gallery: list[int] = []
    pools: list[NDArray[np.int64]] = []
    for pid in people:
        own = rng.permutation(np.flatnonzero(rows.pids == pid))
        split = ((g, rest) for g in own if len(rest := own[_apart(rows.camids, times, own, g)]) > 1)
        kept, rest = next(split, (own[0], own[1:]))
        gallery.append(kept)
        if len(rest) > 1:
            pools.append(rest)
    if len(pools) < 2:
        raise InputError(
            f"of {len(people)} people {len(pools)} have three pictures (an input, a target and one for the gallery):"
            " scores need two such people"
        )
    pairs = np.array([len(pool) * (len(pool) - 1) for pool in pools])
    # In every turn each person has one draw, as long as there are pairs of theirs.
    wanted = min(count, int(pairs.sum()))
    turns = bisect.bisect_left(range(wanted), wanted, key=lambda turns: np.minimum(pairs, turns).sum())
    drawn: list[tuple[int, int, int, int]] = []
    for place, own in enumerate(rng.permutation(len(pools))):
        pool = pools[own]
        for turn, pair in enumerate(rng.choice(pairs[own], min(pairs[own], turns), replace=False)):
            a, b = divmod(int(pair), len(pool) - 1)
            drawn.append((turn, place, pool[a], pool[b + (b >= a)]))
    _, _, inputs, targets = np.array(sorted(drawn)[:count], np.int64).T
    return Draws(inputs, targets, strangers(rows.pids, inputs, rng), np.array(gallery, np.int64))


def _apart(
    camids: NDArray[np.int64] | None, times: NDArray[np.float64] | None, own: NDArray[np.int64], row: int
) -> NDArray[np.bool_]:
    """Which of `own` are other pictures than `row`, and no near-duplicates of it as far as that is known.

    Known cameras that differ are enough, and so are known times that do. Of an unknown camera it is believed that it
    is another one, unless known times say otherwise.
    """
    unknown = np.full(len(own), -1)
    theirs, its = (unknown, -1) if camids is None else (camids[own], camids[row])
    away = unknown * np.nan if times is None else np.abs(times[own] - times[row])  # comparisons with NaN are False
    elsewhere = np.where((theirs < 0) | (its < 0), ~(away < APART - ROUNDING), theirs != its)
    return (elsewhere | (away >= APART - ROUNDING)) & (own != row)


def recognised(
    vectors: NDArray[np.float32], pids: ArrayLike, gallery: NDArray[np.float32], gallery_pids: ArrayLike
) -> NDArray[np.float64]:
    """Whether each picture's own person is nearer than everybody else in the gallery: rank-1.

    Args:
        vectors: N x D, of unit length.
        pids: N; each is in the gallery.
        gallery: K x D, of unit length.
        gallery_pids: K.

    Returns:
        N of 0 and 1; 0 too where somebody else is exactly as near.
    """
    similarity = vectors @ gallery.T
    own = np.asarray(pids)[:, None] == np.asarray(gallery_pids)
    best, rival = (np.where(side, similarity, -np.inf).max(1) for side in (own, ~own))
    return (best > rival).astype(np.float64)


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8], masks: ArrayLike | None = None) -> NDArray[np.float64]:
    """The structural similarity of pictures (Wang et al., IEEE TIP 2004: a Gaussian window of 11 x 11 with a standard
    deviation of 1.5, K1 = 0.01, K2 = 0.03), the mean over the places where the window fits and the three colours.

    With masks it is mask-SSIM (Ma et al., "Pose Guided Person Image Generation", NIPS 2017, section 4): both pictures
    are black outside the mask, and the mean is still that of the whole picture, black parts that agree included.

    Args:
        a, b: N x H x W x 3, uint8, RGB; at least 11 x 11.
        masks: N x H x W, of 0 and 1.

    Returns:
        N, float64, up to 1 for equal pictures.

    Raises:
        InputError: pictures of different or too small sizes.
    """
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[1:3]) < _WINDOW:
        shapes = " and ".join(" x ".join(map(str, v.shape)) for v in (a, b))
        raise InputError(f"ssim: expected pictures N x H x W x 3 twice, at least {_WINDOW} x {_WINDOW}, got {shapes}")
    keep = np.ones((len(a), 1, 1)) if masks is None else np.asarray(masks, np.float64)
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(a), _CHUNK)]
    found = [_ssim(*(torch.from_numpy(v[c] * keep[c][..., None]).permute(0, 3, 1, 2) for v in (a, b))) for c in chunks]
    return np.concatenate(found) if found else np.zeros(0)


def _ssim(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """Of N x 3 x H x W, float64."""
    window = torch.exp(-((torch.arange(_WINDOW, dtype=a.dtype) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    window = (window / window.sum()).reshape(1, 1, 1, -1)

    def local(values: Tensor) -> Tensor:
        one = values.flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(one, window), window.mT).reshape(len(values), -1)

    mean_a, mean_b = local(a), local(b)
    spread = local(a * a) - mean_a**2 + local(b * b) - mean_b**2
    together = local(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * _LEVELS) ** 2, (_K2 * _LEVELS) ** 2
    alike = (2 * mean_a * mean_b + c1) * (2 * together + c2) / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))
    return np.asarray(alike.mean(1).numpy())


@dataclass(frozen=True)
class Score:
    """A measure with its 95 % interval over people."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


MEASURES = ("recognised", "pck", "ssim", "mask_ssim")
_HEADS = ("recognised %", "PCK@0.2 %", "SSIM x 100", "mask-SSIM x 100")
_SAID = {
    "input": "the input as it is",
    "generated": "generated",
    "generated_other": "generated, another's pose",
    "target": "the real target",
}
"""What is measured, each against the target: its pose, and, but for the pose of another person, its picture."""


@dataclass(frozen=True, eq=False)
class GenerationScores:
    """How right generated people are.

    Args:
        scores: by what is measured ("input", "generated", "generated_other", "target") and by measure ("recognised",
            "pck", "ssim", "mask_ssim"); a measure that means nothing there is left out.
        stated: what was measured, on whom and by whom, for the file.
        draws: columns of N entries: the files, the person, and what each measure says of each picture.
        pictures: N x H x W x 3, uint8, by name: "input", "generated", "generated_other" and "target".
        poses: N x 14 x 3: of the targets, in pixels of these.
    """

    scores: dict[str, dict[str, Score]]
    stated: dict[str, Any]
    draws: dict[str, NDArray[Any]]
    pictures: dict[str, NDArray[np.uint8]]
    poses: NDArray[np.float32] = field(repr=False)

    def __str__(self) -> str:
        """A table."""
        lines = [f"{'':<27}" + "".join(f"{head:>24}" for head in _HEADS)]
        for name, found in self.scores.items():
            cells = (str(found[measure]) if measure in found else "" for measure in MEASURES)
            lines.append(f"{_SAID[name]:<27}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {name: {k: vars(v) for k, v in found.items()} for name, found in self.scores.items()}
        return {**self.stated, "scores": plain}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write metrics.json and draws.parquet into a folder."""
        import pyarrow as pa

        Path(folder).mkdir(parents=True, exist_ok=True)
        files.write(Path(folder) / "metrics.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        files.write_parquet(pa.table({k: v.tolist() for k, v in self.draws.items()}), Path(folder) / "draws.parquet")


def score(
    model: GeneratorModel,
    judge: Model,
    rows: Sightings,
    count: int = 200,
    seed: int = 0,
    pose: PoseModel | None = None,
    progress: bool = True,
) -> GenerationScores:
    """Redraw people, and measure what comes out.

    Everything but the gallery is looked at in the size that the generator draws, so that no measure rests on
    resolution. PCK is `pose.pck`. Intervals are over people: Wilson's with their number for the share that is
    recognised, percentile bootstrap for the others.

    Args:
        model: the generator.
        judge: the re-ID model that recognises; `concerns` says whether it took part in the training.
        rows: images of people whom the generator has not seen. Where joints are unknown, the package's pose network
            finds them.
        count: how many pictures to draw.
        seed: of `choose`, the bootstrap and the noise.
        pose: finds the joints in generated pictures; None: the package's.
        progress: show progress bars.

    Raises:
        InputError: as `choose`; or none of the targets shows a joint.
        ImageError: a file cannot be read.
    """
    if rows.files is None or not rows.is_images:
        raise InputError("people are drawn from image files: give sightings with files, one to a row (`images()`)")
    pose = pose or load_pose(POSE, model.device)
    drawn = choose(rows, count, seed)
    size, interpolation = model.size, model.card.preprocessing.interpolation

    def joints(of: NDArray[np.int64]) -> NDArray[np.float32]:
        return resized(with_joints(rows[of], progress=progress, device=model.device), size, progress)

    wanted, other = joints(drawn.targets), joints(drawn.others)
    shown = ((wanted[..., 2] > 0).any(1)) & ((other[..., 2] > 0).any(1))
    if not shown.any():
        raise InputError("no joint is seen in any of the pictures that were drawn as targets, so there is no pose")
    drawn = Draws(drawn.inputs[shown], drawn.targets[shown], drawn.others[shown], drawn.gallery)
    wanted, other, pids = wanted[shown], other[shown], rows.pids[drawn.inputs]
    pixels = DecodedOnTheFly(rows.files.tolist(), size, interpolation)
    real = {"input": pixels.read(drawn.inputs), "target": pixels.read(drawn.targets)}
    pictures = {
        "input": real["input"],
        "generated": model.draw(real["input"], wanted, seed, progress),
        "generated_other": model.draw(real["input"], other, seed, progress),
        "target": real["target"],
    }
    known = judge.embed([rows.files[row] for row in drawn.gallery])
    masks = skeleton_masks(torch.from_numpy(wanted), size, size)[:, 0].numpy()
    scores: dict[str, dict[str, Score]] = {}
    draws: dict[str, NDArray[Any]] = {"pid": pids}
    draws |= {k: rows.files[of] for k, of in (("input", drawn.inputs), ("target", drawn.targets))}
    draws["other"] = rows.files[drawn.others]
    for name, seen in pictures.items():
        each = {"recognised": recognised(judge.embed(list(seen)), pids, known, rows.pids[drawn.gallery])}
        if name != "generated_other":
            each |= {"ssim": ssim(seen, real["target"]), "mask_ssim": ssim(seen, real["target"], masks)}
        truth = other if name == "generated_other" else wanted
        right, exact = _pck(pose.find(list(seen)), truth, pids, seed)
        scores[name] = _scores(each, pids, seed) | exact
        draws |= {f"{name}_{measure}": values for measure, values in {**each, "pck": right}.items()}
    stated = {
        "draws": len(pids), "without_joints": int((~shown).sum()), "people": len(np.unique(pids)),
        "gallery": len(drawn.gallery), "seed": seed, "pose": pose.name, "height": size[0], "width": size[1],
        "intervals": f"{LEVEL:.0%}, over people: Wilson's for recognised, bootstrap for the others",
    }  # fmt: skip
    return GenerationScores(scores, stated, draws, pictures, wanted)


def _scores(each: dict[str, NDArray[np.float64]], pids: NDArray[np.int64], seed: int) -> dict[str, Score]:
    """Means over the pictures, with intervals over people."""
    found = intervals(Averages.of(pids, each), LEVEL, REPLICATES, seed)
    found["recognised"] = wilson(float(each["recognised"].mean()), len(np.unique(pids)))
    return {name: Score(float(values.mean()), *found[name]) for name, values in each.items()}


def _pck(
    found: NDArray[np.float32], truth: NDArray[np.float32], pids: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], dict[str, Score]]:
    """The share of right joints in each picture, NaN where no torso is known; and PCK with its interval over people,
    nothing where that is so of all."""
    one = [pck(a[None], b[None]) for a, b in zip(found, truth)]
    each, total = np.array([picture.mean for picture in one]), pck(found, truth).mean
    if total != total:
        return each, {}
    right = {joint: np.array([picture.joints[joint] for picture in one]) for joint in one[0].joints}
    drawn = np.nanmean(Averages.of(pids, right).resampled(REPLICATES, seed), axis=1)
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return each, {"pck": Score(total, float(low), float(high))}


def origins(card: Card) -> list[Card]:
    """A card, and those of the weights that its training started from as far as they are at hand, nearest first."""
    found, waiting = list[Card](), [card]
    while waiting:
        one = waiting.pop(0)
        if any(_same(one, known) for known in found):
            continue
        found.append(one)
        for section in ("model", "generator"):
            init = one.training.get(section, {}).get("init")
            path = None if init is None else _weights_of(str(init), section)
            if path is not None and card_path(path).is_file():
                waiting.append(Card.read(card_path(path)))
    return found


def _weights_of(init: str, section: str) -> Path | None:
    if section == "generator" and (Path(init) / GENERATOR).is_file():
        return Path(init) / GENERATOR
    try:
        return weights_path(init)
    except WeightsError:  # "imagenet", "random", or no longer there
        return None


def _same(a: Card, b: Card) -> bool:
    return a.sha256 == b.sha256 if a.sha256 and b.sha256 else a.name == b.name


def concerns(card: Card, judge: Card) -> list[str]:
    """Why a judge may recognise what a generator draws better than an independent one would; empty if nothing is known.

    Args:
        card: of the generator.
        judge: of the re-ID model.
    """
    theirs, ours = origins(card), origins(judge)
    shared = next((b for b in ours for a in theirs if _same(a, b)), None)
    found = []
    if shared is not None:
        began = f"the training of {card.name} started from {shared.name}"
        found.append(began if _same(shared, judge) else f"{began}, and so did that of {judge.name}")
    trained = [set[str]().union(*(bases(one.dataset) for one in cards)) for cards in (theirs, ours)]
    if met := trained[0] & trained[1]:
        found.append(f"both were trained on {', '.join(sorted(met))}")
    return found


def default_judge(card: Card) -> str:
    """The shipped weights that recognise, unless others are asked for: those that know nothing of Market-1501 where the
    generator was trained on it, or started from weights that were."""
    trained = set[str]().union(*(bases(one.dataset) for one in origins(card)))
    return "osnet-x0.25-msmt17" if "market1501" in trained else "market-small"
