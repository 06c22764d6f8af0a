"""Evaluation protocols as data: what is ignored, what is averaged, and how the gallery is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """The rule that turns distances into a score.

    Args:
        name: how the protocol is called in results.
        rule: the rule in words, printed beside every score.
        same_camera_is_junk: ignore gallery rows of the query's identity seen by the query's camera. A row whose
            camera is unknown (-1) is never ignored.
        junk_within: ignore gallery rows of the query's identity and camera at most so many seconds before or after it;
            0: of the same moment alone. A row whose camera or time is unknown is never ignored. None: time plays no
            part.
        shots: gallery rows drawn per identity; None: the whole gallery.
        shots_for: with `shots`, what is measured on the drawn galleries: "all" scores, or the "cmc" alone, where
            average and inverse precision are of the whole gallery.
        other_camera_shots: with `shots`, draw for each query only among rows of other cameras.
        repeats: how often the draw is repeated (seeded) and averaged.
        queries_in_gallery: the query rows stand in the gallery as well (where they are of their own camera, and so
            ignored by their own query, but wrong or right answers to others).
        published: the mean average precision that papers report under this protocol: `mAP` (plain, over the queries
            that have a match) or `mAP_trapezoid` (over all queries).
    """

    name: str
    rule: str
    same_camera_is_junk: bool = True
    junk_within: float | None = None
    shots: int | None = None
    shots_for: Literal["all", "cmc"] = "all"
    other_camera_shots: bool = False
    repeats: int = 1
    queries_in_gallery: bool = False
    published: Literal["mAP", "mAP_trapezoid"] = "mAP"


MARKET1501 = Protocol(
    "market1501",
    "Gallery images of the query's own identity and camera are ignored, as is junk (pid -1); distractors (pid 0) stay"
    " as wrong answers. Rank k counts a query whose first correct match is among the first k.",
)
NO_CAMERAS = Protocol(
    "no-cameras",
    "No cameras are known, so every gallery image of the query's identity counts as a match, near-duplicates of the"
    " query included; only the query's own file is ignored. Scores are higher than under a cross-camera rule.",
    same_camera_is_junk=False,
)
CUHK03_CLASSIC = Protocol(
    "cuhk03-classic",
    "One gallery image per identity is drawn at random from another camera than the query's; the mean of 10 seeded"
    " draws.",
    shots=1,
    other_camera_shots=True,
    repeats=10,
)
SINGLE_SHOT = Protocol(
    "single-shot",
    "One gallery image per identity, the query's own identity and camera ignored; the mean over seeded draws. Papers"
    " average over random splits of the identities as well.",
    shots=1,
    repeats=10,
)
MARS_OFFICIAL = Protocol(
    "mars-official",
    "The gallery holds every test tracklet, the queries included. Tracklets of the query's own identity and camera"
    " (itself among them) are ignored, as is junk (pid -1); distractors (pid 0) stay as wrong answers. Average"
    " precision by the trapezoid rule, over all queries.",
    queries_in_gallery=True,
    published="mAP_trapezoid",
)
MARS_TORCHREID = Protocol(
    "mars-torchreid",
    "The query tracklets are taken out of the gallery, so queries whose matches were all queries themselves have none"
    " left; the scores average over the queries that have one. Own identity and camera and junk (pid -1) are ignored;"
    " distractors (pid 0) stay. Not comparable with mars-official.",
)
LS_VID = Protocol(
    "ls-vid",
    "The gallery holds every test tracklet, the queries included. Tracklets of the query's own identity and camera"
    " (itself among them) are ignored. The scores average over the queries that have a match.",
    queries_in_gallery=True,
)
MARKET1501_TRACKLETS = Protocol(
    "market1501-tracklets",
    "Each test tracklet asks, and all of them stand in the gallery. Tracklets of the query's own identity and camera,"
    " itself among them, are ignored; distractors and junk are left out because they have no tracklets. The scores"
    " average over the queries with a match in another camera. Not comparable with market1501.",
    queries_in_gallery=True,
)
DANCEREID = Protocol(
    "dancereid",
    "Each test image asks, and all of them stand in the gallery. Only images of the query's person in the query's own"
    " frame, itself among them, are ignored, so its neighbours in the video, which look nearly the same, are right"
    " answers: scores are high. mAP is of the whole gallery; rank k is of galleries of one image per person, the mean"
    " of 10 seeded draws. As published, but for what the published draws leave out besides: other people's images with"
    " the query's frame number.",
    same_camera_is_junk=False,
    junk_within=0.0,
    shots=1,
    shots_for="cmc",
    repeats=10,
    queries_in_gallery=True,
)
DANCEREID_STRICT = replace(
    DANCEREID,
    name="dancereid-strict",
    rule="As dancereid, but all images of the query's person within 4 seconds in the same video are ignored, so that a"
    " right answer shows another moment of the dance. The scores average over the queries that have one. Not"
    " comparable with dancereid.",
    junk_within=4.0,
)
PROTOCOLS = {
    p.name: p
    for p in (
        MARKET1501, NO_CAMERAS, CUHK03_CLASSIC, SINGLE_SHOT, MARS_OFFICIAL, MARS_TORCHREID, LS_VID,
        MARKET1501_TRACKLETS, DANCEREID, DANCEREID_STRICT,
    )
}  # fmt: skip
