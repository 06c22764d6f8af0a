"""Grids of generated people: what lands where."""

import numpy as np
import pytest
from PIL import ImageColor

from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.report.generated import grid, pose_picture
from reidentify.report.skeleton import COLOURS


def plain(colour: tuple[int, int, int], height: int = 20, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def test_pictures_stand_in_rows_and_columns_at_one_height() -> None:
    sheet = np.asarray(grid([[plain(RED), plain(GREEN, 40, 40)], [None, plain(BLUE, 10, 5)]], height=40))
    # A gap of 6 on every side; the columns are 20 and 40 wide.
    assert sheet.shape == (6 + 2 * (40 + 6), 6 + 20 + 6 + 40 + 6, 3)
    expected = np.full(sheet.shape, 255, np.uint8)
    expected[6:46, 6:26], expected[6:46, 32:72] = RED, GREEN
    expected[52:92, 32:52] = BLUE  # 5 wide at a height of 10
    np.testing.assert_array_equal(sheet, expected)


def test_an_array_of_pictures_is_a_grid_too() -> None:
    rows = [[plain(RED), plain(GREEN)], [plain(BLUE), plain(RED)]]
    np.testing.assert_array_equal(np.asarray(grid(np.array(rows))), np.asarray(grid(rows)))


def test_titles_stand_above_their_columns() -> None:
    bare, titled = (np.asarray(grid([[plain(RED, 60, 60), None]], titles, 60)) for titles in ((), ("person", "")))
    assert titled.shape[0] - bare.shape[0] == 22
    np.testing.assert_array_equal(titled[28:], bare[6:])
    assert (titled[6:28, 6:66] < 128).any()  # letters
    assert (titled[6:28, 66:] == 255).all()


@pytest.mark.parametrize(
    ("images", "titles", "said"),
    [
        ([], (), "rows of the same number of pictures"),
        ([[plain(RED)], []], (), r"got \[1, 0\]"),
        ([[plain(RED)]], ("a", "b"), "1 columns needs as many titles, got 2"),
        ([[plain(RED).astype(float)]], (), "20 x 10 x 3 float64"),
    ],
)
def test_what_is_no_grid_is_said(images: list, titles: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        grid(images, titles)


def test_a_pose_is_drawn_on_a_dark_ground() -> None:
    joints = np.zeros((14, 3))
    for name, x, seen in (("right hip", 5, 1), ("right knee", 15, 1), ("right ankle", 15, 0)):
        joints[MARKET14.index(name)] = x, 20, seen
    drawn = pose_picture(joints, (40, 20), height=160)
    assert drawn.shape == (160, 80, 3)
    assert tuple(drawn[82, 42]) == ImageColor.getrgb(COLOURS["right"])  # (10 + 0.5) * 4 - 0.5, (20 + 0.5) * 4 - 0.5
    assert (drawn[:60] == 40).all()
    assert (drawn[100:] == 40).all()
