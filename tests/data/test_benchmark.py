"""Benchmark: its parts, and identities held out of training."""

import numpy as np
import pytest

from reidentify import Benchmark, InputError, Sightings
from reidentify.values import Attribute


def market_like(cameras: bool = True) -> Benchmark:
    """10 training identities with 3 rows in each of 2 cameras, one junk and one distractor row; 2 test identities."""
    pids = np.concatenate([np.repeat(np.arange(1, 11), 6), [-1, 0], [20, 20, 21, 21]])
    camids = np.concatenate([np.tile([1, 1, 1, 2, 2, 2], 10), [1, 2], [1, 2, 1, 2]])
    split = np.array(["train"] * 62 + ["query", "gallery"] * 2, object)
    return Benchmark("toy", Sightings(pids, camids=camids if cameras else None, split=split))


def test_parts() -> None:
    toy = market_like()
    assert len(toy.train) == 60  # neither junk nor distractor
    assert toy.query.pids.tolist() == [20, 21]
    assert toy.gallery.camids.tolist() == [2, 2]


def test_held_out_identities_are_not_trained_on() -> None:
    rest, held = market_like().holdout(0.3, seed=1)
    out = set(held.sightings.pids.tolist())
    assert len(out) == 3
    assert not out & set(rest.pids.tolist())
    assert len(rest) == 42
    # One query per identity and camera, everything else in the gallery.
    assert len(held.query) == 6
    assert len({*zip(held.query.pids.tolist(), held.query.camids.tolist())}) == 6
    assert len(held.gallery) == 12
    assert len(held.train) == 0
    again = market_like().holdout(0.3, seed=1)[1]
    assert again.sightings.pids.tolist() == held.sightings.pids.tolist()
    assert set(market_like().holdout(0.3, seed=2)[1].sightings.pids.tolist()) != out


def test_without_cameras_one_query_per_identity() -> None:
    _, held = market_like(cameras=False).holdout(0.3)
    assert sorted(held.query.pids.tolist()) == sorted(set(held.query.pids.tolist()))
    assert len(held.query) == 3


def test_a_query_keeps_a_right_answer_in_the_gallery() -> None:
    """Two cameras with one image each, as in VIPeR: one image of a person is the query, the other its answer."""
    pids, camids = np.repeat(np.arange(1, 11), 2), np.tile([1, 2], 10)
    _, held = Benchmark("pairs", Sightings(pids, camids=camids, split=["train"] * 20)).holdout(0.4)
    assert len(held.query) == len(held.gallery) == 4
    assert sorted(held.query.pids.tolist()) == sorted(held.gallery.pids.tolist())
    one = Benchmark("one camera", Sightings(pids, camids=np.ones(20), split=["train"] * 20))
    with pytest.raises(InputError, match="no held-out identity was seen by two cameras"):
        one.holdout(0.4)


@pytest.mark.parametrize("fraction", [0, 1, -0.2])
def test_a_fraction_must_be_one(fraction: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        market_like().holdout(fraction)


def test_a_split_is_needed_and_known() -> None:
    with pytest.raises(InputError, match="need a split"):
        Benchmark("x", Sightings([1]))
    with pytest.raises(InputError, match="found test"):
        Benchmark("x", Sightings([1], split=["test"]))


@pytest.mark.parametrize(("files", "named"), [(None, "row 3"), (["a0", "a1", "b0", "c0", "c1", "d0"], r"row 3 \(c0\)")])
def test_a_value_that_there_is_not_is_named_as_tables_count(files: list[str] | None, named: str) -> None:
    rows = Sightings(
        [1, 1, 2, 2], split=["train"] * 4, files=files, offsets=[0, 2, 3, 5, 6], attributes={"hat": [-1, 1, 2, 5]}
    )
    said = f"^mine: {named} has the value 2 of hat, which knows 0 to 1, and -1 where unlabelled$"
    with pytest.raises(InputError, match=said):
        Benchmark("mine", rows, schema=(Attribute("hat", ("no", "yes")),))


@pytest.mark.parametrize(
    ("camids", "split", "message"),
    [
        ([1, 1, 1, 1], "tggg", "no query to evaluate on: all images to test on come from one camera, .* leave the"),
        ([1, 2, 3, 3], "tggg", "no query to evaluate on: no identity was seen by two cameras"),
        (None, "ttgg", "no query to evaluate on: no identity has a second image"),
        (None, "tggg", "no query to evaluate on: no image has the split query"),
        (None, "tqqq", "no gallery to evaluate on: no image has the split gallery"),
        (None, "tttt", "no query and no gallery to evaluate on: all images are for training"),
    ],
)
def test_why_there_is_nothing_to_evaluate_on(camids: list[int] | None, split: str, message: str) -> None:
    names = {"t": "train", "q": "query", "g": "gallery"}
    rows = Sightings([1, 2, 3, 3 if split == "tggg" else 4], camids=camids, split=[names[s] for s in split])
    with pytest.raises(InputError, match=f"^mine has {message}"):
        Benchmark("mine", rows).require_sides()


def test_with_both_sides_there_is_nothing_to_say() -> None:
    market_like().require_sides()
