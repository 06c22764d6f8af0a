"""Scores of predicted attributes, with expectations worked out by hand."""

import json

import numpy as np
import pytest

from reidentify.attributes import comparable, scores
from reidentify.errors import InputError
from reidentify.values import Attribute

COLOUR = Attribute("colour", ("red", "green", "blue", "black"))
HAT = Attribute("hat", ("no", "yes"))
SIDE = Attribute("side", ("front", "back"), identity=False)


def said(values, count):
    """Probabilities whose largest is at `values`."""
    rows = np.full((len(values), count), 0.1)
    rows[np.arange(len(values)), values] = 0.5
    return rows


def test_what_is_not_scored_is_named_with_the_reason():
    told = [
        COLOUR,
        HAT,
        SIDE,
        Attribute("age", ("young", "old")),
        Attribute("bag", ("no", "yes")),
        Attribute("boots", ("no", "yes")),
        Attribute("sleeve", ("short", "long")),
    ]
    labelled = [
        Attribute("age", ("young", "old"), identity=False),
        Attribute("colour", ("red", "blue", "green", "black")),
        SIDE,
        Attribute("gender", ("male", "female")),
        Attribute("sleeve", ("none", "short", "long")),
        HAT,
        Attribute("hair", ("short", "long")),
    ]
    common, line = comparable(told, labelled, "market")
    assert common == [HAT, SIDE]
    assert line == (
        "attributes not scored: colour (value 1 is green in the network, blue in market);"
        " age (of the person in the network, of the sighting in market); bag, boots (no labels in market);"
        " sleeve (2 values in the network, 3 in market); gender, hair (not told by the network)"
    )
    assert comparable(told, told[::-1], "market") == (told, "")
    assert comparable([HAT], [], "market") == ([], "attributes not scored: hat (no labels in market)")


def test_one_attribute_by_hand():
    # Labels    red red red green green blue  -   (black never occurs)
    # Said      red red green green black red blue
    truth = {"colour": np.array([0, 0, 0, 1, 1, 2, -1])}
    found = scores({"colour": said([0, 0, 1, 1, 3, 0, 2], 4)}, truth, [COLOUR]).attributes[0]
    assert (found.name, found.identity, found.labelled) == ("colour", True, 6)
    assert found.accuracy == pytest.approx(3 / 6)
    # red: TP 2, FN 1, FP 1 -> 4/6; green: TP 1, FN 1, FP 1 -> 2/4; blue: TP 0 -> 0; black has no label.
    assert found.f1 == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert found.majority == pytest.approx(3 / 6)


def test_two_values_have_the_same_definition():
    found = scores({"hat": said([0, 0, 0, 0], 2)}, {"hat": np.array([0, 0, 0, 1])}, [HAT]).attributes[0]
    assert found.accuracy == found.majority == 0.75
    assert found.f1 == pytest.approx((6 / 7 + 0) / 2)  # "no": TP 3, FP 1, FN 0; "yes": TP 0


def test_a_value_that_no_row_has_does_not_count():
    found = scores({"hat": said([0, 1], 2)}, {"hat": np.array([0, 0])}, [HAT]).attributes[0]
    assert found.f1 == pytest.approx(2 / 3)  # "no": TP 1, FN 1; "yes" is never labelled


def test_logits_and_probabilities_say_the_same_and_the_first_of_equals_wins():
    truth = {"hat": np.array([0, 1, 0])}
    logits = np.array([[3.0, -2.0], [-5.0, -4.0], [1.0, 1.0]])
    odds = np.exp(logits)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    assert scores({"hat": logits}, truth, [HAT]) == scores({"hat": probabilities}, truth, [HAT])
    assert scores({"hat": logits}, truth, [HAT]).attributes[0].accuracy == 1


def test_means_of_the_groups():
    truth = {"colour": np.array([0, 1]), "hat": np.array([0, -1]), "side": np.array([1, 1])}
    found = scores({"colour": said([0, 2], 4), "hat": said([0, 0], 2), "side": said([0, 0], 2)}, truth,
                   [COLOUR, HAT, SIDE])  # fmt: skip
    assert found.mean() == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.mean(identity=True) == pytest.approx(0.75)
    assert found.mean(identity=False) == 0
    assert found.mean("f1", identity=True) == pytest.approx((0.5 + 1) / 2)  # red 1, green 0; "no" 1
    assert found.mean("majority") == pytest.approx((0.5 + 1 + 1) / 3)


def test_an_attribute_without_labels_is_left_out_of_the_means():
    truth = {"hat": np.array([0, 1]), "side": np.array([-1, -1])}
    found = scores({"hat": said([0, 1], 2), "side": np.full((2, 2), np.nan)}, truth, [HAT, SIDE])
    assert found.attributes[1].labelled == 0
    assert np.isnan(found.attributes[1].accuracy)
    assert np.isnan(found.mean(identity=False))
    assert found.mean() == 1
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["attributes"]["side"] == {
        "identity": False, "labelled": 0, "accuracy": None, "f1": None, "majority": None,
    }  # fmt: skip
    assert content["attributes"]["hat"]["accuracy"] == 1
    assert set(content["means"]) == {"identity", "all"}
    assert content["means"]["all"] == {"accuracy": 1, "f1": 1, "majority": 0.5}


def test_printed():
    truth = {"colour": np.array([0, 1, -1]), "side": np.array([1, 1, 1])}
    text = str(scores({"colour": said([0, 2, 0], 4), "side": said([1, 0, 1], 2)}, truth, [COLOUR, SIDE]))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert ["colour", "person", "2", "50.0", "50.0", "50.0"] in rows
    assert ["side", "sighting", "3", "66.7", "80.0", "100.0"] in rows  # back: TP 2, FN 1
    assert ["mean", "all", "", "58.3", "65.0", "75.0"] in rows


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ({}, {"hat": [0]}, "attribute hat: there are no predictions of it, only of nothing"),
        ({"hat": [[1, 0]]}, {"cap": [0]}, "attribute hat: there are no labels of it, only of cap"),
        ({"hat": [[1, 0, 0]]}, {"hat": [0]}, r"expected N labels and N x 2 predictions, got \(1,\) and \(1, 3\)"),
        ({"hat": [[1, 0]]}, {"hat": [0, 1]}, r"got \(2,\) and \(1, 2\)"),
        ({"hat": [[1, 0], [0, 1]]}, {"hat": [0, 2]}, "row 1 has the label 2, not 0 to 1"),
        ({"hat": [[1, 0], [float("nan"), 1]]}, {"hat": [0, 1]}, "the prediction of row 1 is not a number"),
    ],
)
def test_what_does_not_fit_is_named(predicted, truth, message):
    with pytest.raises(InputError, match=message):
        scores({k: np.array(v) for k, v in predicted.items()}, {k: np.array(v) for k, v in truth.items()}, [HAT])
