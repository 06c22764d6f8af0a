"""The spread of positives: by hand, against a plain loop, and as a chart."""

import io

import numpy as np
import pytest
from PIL import Image

from reidentify import Embeddings, InputError, Sightings
from reidentify.report import spread as module
from reidentify.report.charts import DARK, LIGHT
from reidentify.report.spread import Spread, chart, spread


def embeddings(degrees: list[float], pids: list[int], camids: list[int] | None) -> Embeddings:
    angles = np.radians(degrees)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Embeddings(vectors, Sightings(pids, camids=camids))


def test_spread_by_hand() -> None:
    """Person 1 at 0, 60 and 90 degrees by cameras 1, 2, 3; person 2 at 180 twice; a distractor at 270; junk anywhere.

    Distances are 1 - cos: 0.5 between 0 and 60, 1 between 0 and 90, 1 - cos 30 between 60 and 90. Person 2 has one
    positive each, too few.
    """
    found = spread(embeddings([0, 60, 90, 180, 180, 270, 45], [1, 1, 1, 2, 2, 0, -1], [1, 2, 3, 1, 2, 1, 2]))
    near = 1 - np.cos(np.radians(30))
    np.testing.assert_allclose(found.distances, [0.5, 1, 0.5, near, 1, near], atol=1e-6)
    np.testing.assert_allclose(found.variances, [0.25**2, ((0.5 - near) / 2) ** 2, ((1 - near) / 2) ** 2], atol=1e-6)
    others = [2, 2, 1, 1.5, 1.5, 1 - np.cos(np.radians(150)), 1, 1, 2]  # 180 twice and 270, from 0, from 60, from 90
    assert found.negative == pytest.approx(np.mean(others), abs=1e-6)
    stated = found.to_dict()
    assert stated["anchors"] == 3
    assert stated["mean"] == pytest.approx((1.5 + near) / 3, abs=1e-6)
    assert stated["variance"] == pytest.approx(found.variances.sum() / 3)
    assert stated["relative_mean"] == pytest.approx(stated["mean"] / stated["negative"])
    assert stated["relative_variance"] == pytest.approx(stated["variance"] / stated["negative"] ** 2)


@pytest.mark.parametrize("cameras", ["known", "some", "none"])
def test_random_sightings_follow_the_definition(cameras: str, monkeypatch) -> None:
    from reidentify.ranking import distance

    monkeypatch.setattr(distance, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    pids = rng.integers(-1, 8, 60)
    camids = None if cameras == "none" else rng.integers(1 if cameras == "known" else -1, 4, 60)
    vectors = rng.standard_normal((60, 5)).astype(np.float32)
    found = spread(Embeddings(vectors, Sightings(pids, camids=camids)))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances, variances, negatives = [], [], []
    for i in range(60):
        own = [
            1 - unit[i] @ unit[j]
            for j in range(60)
            if j != i and pids[j] == pids[i] > 0 and (camids is None or camids[i] == -1 or camids[i] != camids[j])
        ]
        if len(own) > 1:
            distances += own
            variances.append(np.var(own))
            negatives += [1 - unit[i] @ unit[j] for j in range(60) if pids[j] != pids[i] and pids[j] != -1]
    np.testing.assert_allclose(found.distances, distances, atol=1e-5)
    np.testing.assert_allclose(found.variances, variances, atol=1e-5)
    assert found.negative == pytest.approx(np.mean(negatives), abs=1e-5)


def test_what_has_no_spread_is_named() -> None:
    with pytest.raises(InputError, match="no sighting has two others of its person"):
        spread(embeddings([0, 1, 2, 90], [1, 1, 1, 2], [1, 1, 1, 2]))
    with pytest.raises(InputError, match="all sightings show one person"):
        spread(embeddings([0, 1, 2], [1, 1, 1], None))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_a_chart_names_every_network_and_its_numbers(theme, monkeypatch) -> None:
    from matplotlib.text import Text

    words: list[str] = []
    real = module.to_png

    def png(figure):
        words.extend(text.get_text() for text in figure.findobj(Text))
        return real(figure)

    monkeypatch.setattr(module, "to_png", png)
    before = Spread(np.array([0.2, 0.4, 0.6]), np.array([0.02, 0.04]), 0.8)
    after = Spread(np.array([0.1, 0.2, 0.3]), np.array([0.01, 0.01]), 0.8)
    image = Image.open(io.BytesIO(chart({"before": before, "after": after}, theme)))
    image.load()
    # 0.4 / 0.8 and 0.2 / 0.8; 0.03 / 0.64 and 0.01 / 0.64.
    expected = {"before: mean 0.500", "after: mean 0.250", "mean 0.0469", "mean 0.0156", "before", "after"}
    assert expected < set(words)
    with pytest.raises(InputError, match="one to 6 networks, got 0"):
        chart({}, theme)
