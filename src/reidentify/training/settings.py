"""The sections of recipes: everything that decides what a training does, as typed data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from reidentify.errors import RecipeError


@dataclass(frozen=True)
class InputSettings:
    """What the network sees.

    Args:
        height: rows an image is resized to.
        width: columns.
        interpolation: of the resize.
        holdout: share of the training identities set aside for validation and calibration; 0 trains on all of them,
            and then nothing is validated.
    """

    height: int = 256
    width: int = 128
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    holdout: float = 0.1


@dataclass(frozen=True)
class ClipSettings:
    """What is seen of a tracklet. Of images there is nothing to choose.

    Args:
        length: T, frames of a clip. A network of images sees them one by one, each labelled as its tracklet.
        sampling: which frames in training: "evenly", "random", "consecutive" or "restricted" (one at random from each
            of T chunks). A tracklet shorter than T gives all its frames.
        test_frames: frames of a tracklet that are looked at in tests, evenly spread; null for all of them.
    """

    length: int = 4
    sampling: Literal["evenly", "random", "consecutive", "restricted"] = "restricted"
    test_frames: int | None = None


@dataclass(frozen=True)
class SamplerSettings:
    """What makes up a batch, per process.

    Args:
        kind: "pk" (identities x instances), "shuffle" (as many random rows), "instances" (`anchors` with two other rows
            of each one's identity) or "space-time" (`anchors` with a positive and a negative of each, chosen by camera
            and time; as ST-ReIDNet, Ho et al., ICASSP 2020).
        identities: P.
        instances: K.
        camera_aware: pk: an identity's instances come from as many cameras as possible.
        source_balanced: pk: the same number of identities from each joined data set.
        epoch: pk: an epoch ends when about all "rows" were seen, or when each of the "identities" was, once.
        anchors: instances, space-time: anchors of a batch, which holds three times as many rows; an epoch shows each
            row as an anchor once.
        inter_rate: space-time: probability that a positive shows the anchor's camera `gap` seconds or more earlier or
            later, and a negative another person before that camera; otherwise they are any.
        gap: space-time: seconds; of a person seen for less than two gaps, a fifth of that time.
    """

    kind: Literal["pk", "shuffle", "instances", "space-time"] = "pk"
    identities: int = 16
    instances: int = 4
    camera_aware: bool = False
    source_balanced: bool = False
    epoch: Literal["rows", "identities"] = "rows"
    anchors: int = 16
    inter_rate: float = 0.7
    gap: float = 4.0


@dataclass(frozen=True)
class LossSettings:
    """The sum that is minimised.

    Args:
        cross_entropy: weight of the identity classification.
        label_smoothing: epsilon of (1 - eps) onehot + eps / C.
        triplet: weight of the triplet loss; 0 for none.
        triplet_kind: "hard" (margin), "soft" (soft margin) or "weighted" (weighted-regularised, as in AGW).
        margin: of triplet_kind "hard".
        distance: of the triplet loss and AITL: "euclidean", or "cosine" (1 - cosine).
        attributes: weight of the attribute losses, one for each group.
        attribute_kind: "bce" (each value on its own, as published with AITL) or "cross-entropy" (one value of each).
        aitl: weight of AITL, the attribute-driven triplet loss within an identity, for each group of attributes.
        aitl_kind: "aitl" (the anchor is none of its own positives) or "aitl-released" (it is, as in the code released
            with the paper, where the loss then is the distance to the positive most different in attributes).
        center: weight of the center loss; 0 for none.
        metric: a loss of pytorch-metric-learning by name (circle, arcface, ...); null for none.
        metric_weight: its weight.
        metric_settings: its settings, e.g. {m: 0.25, gamma: 64}.
    """

    cross_entropy: float = 1.0
    label_smoothing: float = 0.1
    triplet: float = 1.0
    triplet_kind: Literal["hard", "soft", "weighted"] = "hard"
    margin: float = 0.3
    distance: Literal["euclidean", "cosine"] = "euclidean"
    attributes: float = 0.0
    attribute_kind: Literal["bce", "cross-entropy"] = "cross-entropy"
    aitl: float = 0.0
    aitl_kind: Literal["aitl", "aitl-released"] = "aitl"
    center: float = 0.0
    metric: str | None = None
    metric_weight: float = 1.0
    metric_settings: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not (self.cross_entropy or self.triplet or self.center or self.metric):
            raise RecipeError("loss: every loss has weight 0, so there is nothing to minimise")


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    Args:
        kind: "adam", "adamw" or "sgd".
        lr: learning rate of the head, after warm-up.
        backbone_lr: factor on `lr` for every layer outside the head (what follows the backbone).
        weight_decay: L2 for adam and sgd, decoupled for adamw.
        momentum: of sgd.
        nesterov: of sgd: Nesterov's momentum, or the plain one.
        amsgrad: of adam and adamw.
        beta: of adam and adamw: decay of the mean of the gradients; 0.5 is common beside a discriminator.
        epochs: length of the training.
        schedule: "multistep" (times `gamma` at each milestone), "cosine" (to `final_lr` times `lr`), "linear" (constant
            up to the one milestone, then straight down to 0 at the end, as FD-GAN) or "inverse"
            ((1 + `decay` * step) to the power of -`power`, as Ahmed et al. 2015 and Subramaniam et al. 2016).
        milestones: epochs.
        gamma: factor at a milestone.
        decay: of the inverse schedule, per step.
        power: of the inverse schedule.
        final_lr: factor at the end of the cosine.
        warmup: epochs over which the rate rises linearly from `warmup_start` times `lr`.
        warmup_start: factor at the first step.
        freeze: epochs during which only the head (what follows the backbone) learns; the rest, the statistics of its
            batch norms included, stays as it is.
        train: embedding: names of layers of the network that alone learn, all others staying as they are, e.g.
            [fusion, joined, necks.0] of spindle; empty for all.
        clip: largest norm of the gradient; 0 for none.
        ema: decay of an exponential moving average of the weights, which is then what is validated and kept; 0 for
            none.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 3.5e-4
    backbone_lr: float = 1.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True
    amsgrad: bool = False
    beta: float = 0.9
    epochs: int = 120
    schedule: Literal["multistep", "cosine", "linear", "inverse"] = "multistep"
    milestones: list[int] = field(default_factory=lambda: [40, 70])
    gamma: float = 0.1
    decay: float = 1e-4
    power: float = 1.0
    final_lr: float = 0.0
    warmup: float = 10
    warmup_start: float = 0.01
    freeze: int = 0
    train: list[str] = field(default_factory=list)
    clip: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class RunSettings:
    """Where and how often.

    Args:
        seed: of every random draw.
        accelerator: as pytorch-lightning names them: "auto", "cpu", "gpu", ...
        devices: processes per node: a number, or "auto" for all.
        nodes: number of machines.
        precision: "32-true", "bf16-mixed" or "16-mixed".
        sync_batchnorm: statistics of BatchNorm over all processes.
        workers: processes that decode, where the images do not fit into the pixel cache.
        evaluate_every: epochs between validations on the held-out identities.
        checkpoint_every: epochs between checkpoints, from which a killed run resumes.
        select: keep the weights of the "last" epoch or of the "best" validation (mAP; of pairs the accuracy, of pose
            networks PCK).
        flip: embedding: average an image with its mirror.
    """

    seed: int = 0
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    sync_batchnorm: bool = False
    workers: int = 4
    evaluate_every: int = 10
    checkpoint_every: int = 1
    select: Literal["last", "best"] = "last"
    flip: bool = True


@dataclass(frozen=True)
class SpaceTimeSettings:
    """How long people take from camera to camera, learned from the training rows beside the network.

    Args:
        fit: learn it and write spacetime.safetensors; the training data needs cameras and times.
        bin_width: of the histograms of intervals, in seconds.
        bins: per direction; longer intervals are taken for the longest.
        visits: "cluster" the sightings of an identity at a camera into visits, or take their "mean" (as published).
        visit_gap: seconds without a sighting that end a visit.
        fusion: "calibrated" log-odds, learned on the held-out identities, or "published" logistic smoothing.
        sigma: bandwidth of the published fusion, in bins.
    """

    fit: bool = False
    bin_width: float = 4.0
    bins: int = 5000
    visits: Literal["cluster", "mean"] = "cluster"
    visit_gap: float = 60.0
    fusion: Literal["calibrated", "published"] = "calibrated"
    sigma: float = 50.0


@dataclass(frozen=True)
class PairsSettings:
    """Which pairs are shown, and which negatives are looked for.

    Args:
        sampling: "all" positive pairs, each with `negatives` negative ones, shuffled; or "balanced", one for each, and
            every batch holds as many of both.
        negatives: sampling "all": random negative pairs for each positive one.
        per_epoch: positive pairs of an epoch, drawn anew each time; null for all.
        batch: pairs of a batch and process.
        mining: "none"; "hard" (those negatives of the training set that the network thinks most alike, among the
            `mine_nearest` of every image) or "semi-hard" (of these, those that it thinks less alike than positives by
            up to `mining_margin`).
        mine_after: epochs before mined negatives are first shown.
        mine_every: epochs from one mining to the next.
        mine_nearest: candidates per image: its nearest images of other people, by the network's own maps.
        mine_candidates: how many of these the network scores, the most alike of all; null for all.
        mined_share: of the negatives of an epoch, how many are mined ones; the others stay random.
        mining_margin: of semi-hard mining, in probability.
        retrain: after the first mining, "everything" or the "top" layers alone (as published by Ahmed et al.).
        test: positive pairs of the test split on which the trained network is scored, a seeded draw, with as many
            negative ones; null for all.
    """

    sampling: Literal["all", "balanced"] = "balanced"
    negatives: int = 1
    per_epoch: int | None = None
    batch: int = 64
    mining: Literal["none", "hard", "semi-hard"] = "none"
    mine_after: int = 5
    mine_every: int = 1
    mine_nearest: int = 20
    mine_candidates: int | None = None
    mined_share: float = 0.5
    mining_margin: float = 0.3
    retrain: Literal["everything", "top"] = "everything"
    test: int | None = 4000


@dataclass(frozen=True)
class PairLossSettings:
    """The sum that is minimised for pairs.

    Args:
        cross_entropy: weight of the classification into same and different.
        label_smoothing: epsilon of (1 - eps) onehot + eps / 2.
        contrastive: weight of the contrastive loss (Hadsell et al. 2006) between embeddings of unit length; of networks
            of kind "siamese".
        margin: of the contrastive loss: negatives farther apart cost nothing.
    """

    cross_entropy: float = 1.0
    label_smoothing: float = 0.0
    contrastive: float = 0.0
    margin: float = 1.0

    def __post_init__(self) -> None:
        if not self.cross_entropy:
            raise RecipeError("loss.cross_entropy: the layers that tell one person from two learn from nothing else")


@dataclass(frozen=True)
class PoseSamplerSettings:
    """What makes up a batch of images with joints, per process.

    Args:
        batch: images, drawn at random.
    """

    batch: int = 32


@dataclass(frozen=True)
class PoseLossSettings:
    """The sum that is minimised for joints: the squared error of heat maps, and the visibility.

    Args:
        sigma: standard deviation of the Gaussians, in cells of the heat maps (a quarter of the input's pixels).
        visibility: weight of the binary cross-entropy of how visible each joint is.
    """

    sigma: float = 1.5
    visibility: float = 0.1
