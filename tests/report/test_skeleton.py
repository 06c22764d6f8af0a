"""Drawn skeletons: colours at the places of limbs, and nothing for unseen joints."""

import numpy as np
import pytest
from PIL import ImageColor

from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.report.skeleton import COLOURS, skeleton, skeletons

BLACK = np.zeros((160, 80, 3), np.uint8)


def joints(**places: tuple[float, float, float]) -> np.ndarray:
    found = np.zeros((14, 3))
    for name, place in places.items():
        found[MARKET14.index(name.replace("_", " "))] = place
    return found


def test_limbs_have_the_colour_of_their_side() -> None:
    given = joints(
        right_hip=(20, 40, 1), right_knee=(20, 100, 1), left_hip=(60, 40, 1), left_knee=(60, 100, 0.6),
        left_ankle=(60, 140, 0),
    )  # fmt: skip
    drawn = np.asarray(skeleton(BLACK, given, height=320))  # twice as large
    assert drawn.shape == (320, 160, 3)
    assert tuple(drawn[140, 40]) == ImageColor.getrgb(COLOURS["right"])
    assert tuple(drawn[140, 120]) == ImageColor.getrgb(COLOURS["left"])
    assert not drawn[240:, 100:].any()  # to the unseen ankle there is no line
    assert not drawn[:, 60:100].any()


def test_nothing_seen_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (320, 160, 3)).astype(np.uint8)
    given = joints(neck=(float("nan"), 3, 1))
    np.testing.assert_array_equal(np.asarray(skeleton(picture, given, height=320)), picture)


def test_pictures_of_any_size_stand_side_by_side() -> None:
    sheet = skeletons([BLACK, BLACK[:, :40], BLACK], np.zeros((3, 14, 3)), ["a", "b", "c"], columns=2)
    array = np.asarray(sheet)
    dark = (array.sum(2) == 0).sum()
    assert dark >= 2 * 320 * 160 + 320 * 80
    with pytest.raises(InputError, match="pictures with joints 1 x 14 x 3 and 2 labels"):
        skeletons([BLACK, BLACK], np.zeros((1, 14, 3)), ["a", "b"])


def test_a_very_wide_picture_fits_its_box() -> None:
    wide = np.zeros((10, 4000, 3), np.uint8)
    assert skeleton(wide, np.zeros((14, 3))).size == (320, 1)
    given = joints(neck=(3999, 9, 1))
    assert skeleton(np.zeros((400, 800, 3), np.uint8), given).size == (320, 160)
    alone = skeletons(iter([wide]), np.zeros((1, 14, 3)), ["a"])
    assert max(alone.size) < 500


def test_a_note_stands_below() -> None:
    plain, noted = (skeletons([BLACK], np.zeros((1, 14, 3)), ["a"], note=note) for note in ("", "the first of many"))
    assert noted.width > plain.width
    assert (np.asarray(noted)[-30:, plain.width :].sum(2) < 300).any()
