"""Pairwise networks in use, by a stand-in whose probabilities can be computed by hand: mean colours, compared."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
import torch
from drawn import draw_person
from PIL import Image
from torch import Tensor, nn

from reidentify import Benchmark, Embeddings, InputError, Sightings, evaluate, pairs
from reidentify.batch import Batch
from reidentify.data.pixels import decode
from reidentify.errors import WeightsError
from reidentify.mining import hardest_negatives
from reidentify.models.pairs import PairSettings, build_pairs
from reidentify.models.weights import Card, Preprocessing, save_weights
from reidentify.pairs import BATCH, Encoded, PairModel, PairScorer, load_pairs, score_pairs, verify
from reidentify.pose import PoseModel
from reidentify.ranking.protocol import SINGLE_SHOT

SIZE = (32, 16)


class Colours(nn.Module):
    """P(same) falls with the distance of the images' maps of colour, and rises with the red of the first."""

    wants_keypoints = False

    def __init__(self) -> None:
        super().__init__()
        self.encoded, self.compared, self.largest = 0, 0, 0

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.pixels.shape[1:] == (1, 3, *SIZE)
        self.encoded += len(batch)
        images = batch.pixels[:, 0].float() / 255
        return {"maps": nn.functional.avg_pool2d(images, 8), "red": images[:, :1].mean((2, 3))}

    def compare(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        self.compared += len(a["maps"])
        self.largest = max(self.largest, len(a["maps"]))
        distance = (a["maps"] - b["maps"]).abs().mean((1, 2, 3))
        same = 6 - 60 * distance + 5 * a["red"][:, 0]
        return torch.stack([torch.zeros_like(same), same], 1)


def model_of(**training: object) -> PairModel:
    card = Card("colours", {}, Preprocessing(*SIZE), 3, "", "", kind="pairs", training=training)
    return PairModel(Colours(), card, torch.device("cpu"))  # type: ignore[arg-type]


def by_hand(first: str, second: str) -> float:
    """P(same) of two files in this order."""
    a, b = (decode(file, SIZE).astype(np.float64) / 255 for file in (first, second))
    means = [image.reshape(4, 8, 2, 8, 3).mean((1, 3)) for image in (a, b)]
    same = 6 - 60 * np.abs(means[0] - means[1]).mean() + 5 * a[..., 0].mean()
    return float(1 / (1 + np.exp(-same)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))


def test_probabilities_are_the_mean_of_both_orders(people: Benchmark) -> None:
    rows, model = people.sightings, model_of()
    files = rows.files.tolist()
    pairs = np.random.default_rng(0).integers(0, len(rows), (3 * BATCH + 5, 2))
    there = [by_hand(files[a], files[b]) for a, b in pairs.tolist()]
    back = [by_hand(files[b], files[a]) for a, b in pairs.tolist()]
    found = score_pairs(model, rows, pairs, progress=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (np.array(there) + back) / 2, atol=1e-5)
    one = score_pairs(model, rows, pairs, symmetric=False, progress=False)
    np.testing.assert_allclose(one, there, atol=1e-5)
    assert np.abs(np.array(there) - back).max() > 0.01
    assert score_pairs(model, rows, pairs[:0], progress=False).shape == (0,)


def test_each_image_is_encoded_once_within_the_memory(people: Benchmark) -> None:
    rows = people.sightings[:80]
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 80, (1000, 2))
    whole, small = model_of(), model_of()
    found = score_pairs(whole, rows, pairs, progress=False)
    assert whole.network.encoded == 80
    assert whole.network.compared == 2000
    # At the smallest, twice a batch of pairs finds room, which is 64 of the 80.
    again = score_pairs(small, rows, pairs, memory=1, progress=False)
    assert small.network.encoded > 80
    np.testing.assert_array_equal(found, again)


def test_what_is_kept_is_bounded_and_right(people: Benchmark) -> None:
    rows, model = people.sightings, model_of()
    encoded = Encoded(model, rows, memory=1, progress=False)
    rng = np.random.default_rng(2)
    for _ in range(20):
        asked = rng.integers(0, len(rows), 2 * BATCH)
        maps = encoded.of(asked)["maps"]
        assert encoded.capacity == 2 * BATCH
        wanted = [decode(rows.files[i], SIZE).reshape(4, 8, 2, 8, 3).mean((1, 3)) / 255 for i in asked]
        np.testing.assert_allclose(maps.permute(0, 2, 3, 1), wanted, atol=1e-5)
    held = 2 * BATCH
    model.network.encoded = 0
    encoded.of(np.arange(held))
    model.network.encoded = 0
    encoded.of(np.arange(held)[::-1])
    assert model.network.encoded == 0
    encoded.of(np.arange(held, held + 4))  # four of those used last but one go
    assert model.network.encoded == 4


def test_a_scorer_gives_the_probability_of_two_people(people: Benchmark) -> None:
    model, query, gallery = model_of(), people.query, people.gallery
    scorer = PairScorer(model, query, gallery, progress=False)
    files = query.files.tolist(), gallery.files.tolist()
    both = [[(by_hand(q, g) + by_hand(g, q)) / 2 for g in files[1]] for q in files[0]]
    chosen = np.array([3, 0])
    np.testing.assert_allclose(scorer.block(chosen, slice(2, 9)), 1 - np.array(both)[chosen, 2:9], atol=1e-5)
    model.network.compared = 0
    np.testing.assert_allclose(scorer.block(slice(None), slice(0, len(gallery))), 1 - np.array(both), atol=1e-5)
    assert model.network.compared == 2 * (len(query) * len(gallery) - 2 * 7)  # what is known is not asked again
    scorer.block(slice(0, 4), np.array([5, 1]))
    assert model.network.compared == 2 * (len(query) * len(gallery) - 2 * 7)


def test_a_sure_network_still_ranks(tmp_path) -> None:
    """P(same) of 1 - 1e-9 and 1 - 1e-10 are both 1 in 32 bits; the distances differ."""

    class Sure(Colours):
        def compare(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
            return torch.stack([torch.zeros(len(b["red"])), 20 + 10 * (a["red"] * b["red"])[:, 0]], 1)

    files = []
    for i, red in enumerate((255, 128, 0)):
        Image.new("RGB", (16, 32), (red, 0, 0)).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    model = model_of()
    model.network = Sure()
    rows = Sightings([1, 2, 3], files=files)
    block = PairScorer(model, rows[:1], rows, progress=False).block(slice(None), slice(None))[0]
    expected = [1 / (1 + np.exp(20 + 10 * red / 255)) for red in (255, 128, 0)]
    np.testing.assert_allclose(block, expected, rtol=1e-4)


def test_ranking_by_a_pairwise_network_alone_and_in_a_cascade(people: Benchmark) -> None:
    model, query, gallery = model_of(), people.query, people.gallery
    scorer = PairScorer(model, query, gallery, progress=False)

    class Given:
        def __init__(self, matrix: np.ndarray) -> None:
            self.matrix = matrix

        def block(self, queries, rows):
            return self.matrix[queries][:, rows]

    files = query.files.tolist(), gallery.files.tolist()
    matrix = np.array([[1 - (by_hand(q, g) + by_hand(g, q)) / 2 for g in files[1]] for q in files[0]])
    for protocol in (None, SINGLE_SHOT):
        found = evaluate(query, gallery, protocol, scorer=scorer)
        wanted = evaluate(query, gallery, protocol, scorer=Given(matrix))
        assert (found.mAP, found.rank(1)) == pytest.approx((wanted.mAP, wanted.rank(1)))
    vectors = np.random.default_rng(0).standard_normal((len(query) + len(gallery), 8)).astype(np.float32)
    sides = Embeddings(vectors[: len(query)], query), Embeddings(vectors[len(query) :], gallery)
    plain = evaluate(*sides)
    assert evaluate(*sides, rescore=(scorer, len(gallery))).mAP == pytest.approx(
        evaluate(query, gallery, scorer=scorer).mAP
    )
    assert evaluate(*sides, rescore=(scorer, 3)).mAP != plain.mAP


def pooled_similarity(files: list[str]) -> np.ndarray:
    """As the first pass of mining: maps of 4 x 2 stretched over 6 x 2 cells, centred."""
    vectors = []
    for file in files:
        image = decode(file, SIZE).astype(np.float64) / 255
        maps = image.reshape(4, 8, 2, 8, 3).mean((1, 3))
        # Of 4 rows over 6 cells: cell i averages rows floor(4 i / 6) to ceil(4 (i + 1) / 6).
        cells = np.stack([maps[4 * i // 6 : -(-4 * (i + 1) // 6)].mean(0) for i in range(6)])
        vectors.append(cells.ravel())
    centred = np.array(vectors) - np.mean(vectors, axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    return centred @ centred.T


def test_mining_finds_the_hardest_of_all_or_of_the_proposals(people: Benchmark) -> None:
    rows = people.train[:40]
    pids = rows.pids.copy()
    pids[5], pids[6] = 0, -1
    rows, model, files = rows.replace(pids=pids), model_of(), rows.files.tolist()
    every = [(a, b) for a, b in combinations(range(40), 2) if pids[a] != pids[b] and min(pids[a], pids[b]) > 0]
    probability = {pair: by_hand(files[pair[0]], files[pair[1]]) for pair in every}
    hardest = sorted(every, key=lambda pair: -probability[pair])
    found = hardest_negatives(model, rows, 25, nearest=40, progress=False)
    assert sorted(map(tuple, found.tolist())) == sorted(hardest[:25])
    values = [probability[tuple(pair)] for pair in found.tolist()]
    assert values == sorted(values, reverse=True)
    # With few proposals only these are scored.
    known = [i for i in range(40) if pids[i] > 0]
    similar = dict(zip(known, pooled_similarity([files[i] for i in known])))
    place = {row: i for i, row in enumerate(known)}
    proposed = set()
    for a in known:
        others = sorted((b for b in known if pids[b] != pids[a]), key=lambda b: -similar[a][place[b]])
        proposed |= {tuple(sorted((a, b))) for b in others[:2]}
    model.network.compared = 0
    found = hardest_negatives(model, rows, 1000, nearest=2, progress=False)
    assert {tuple(pair) for pair in found.tolist()} == proposed
    assert model.network.compared == len(proposed)
    hardest_negatives(model, rows, 5, nearest=2, candidates=10, progress=False)
    assert model.network.compared == len(proposed) + 10


def test_semi_hard_negatives_lie_just_below_the_positives(people: Benchmark) -> None:
    rows, model = people.train, model_of()
    files, pids = rows.files.tolist(), rows.pids
    positives = [by_hand(files[a], files[b]) for a, b in combinations(range(len(rows)), 2) if pids[a] == pids[b]]
    assert len(positives) < 1000  # so all of them make the level
    level = np.mean(positives)
    found = hardest_negatives(model, rows, 10_000, nearest=len(rows), margin=0.3, progress=False)
    wanted = {
        (a, b)
        for a, b in combinations(range(len(rows)), 2)
        if pids[a] != pids[b] and level - 0.3 < by_hand(files[a], files[b]) < level
    }
    assert {tuple(pair) for pair in found.tolist()} == wanted
    assert 0 < len(wanted) < len(hardest_negatives(model, rows, 10_000, nearest=len(rows), progress=False))


def test_mistakes_of_mining(people: Benchmark) -> None:
    rows, model = people.train, model_of()
    with pytest.raises(InputError, match="must be above 0"):
        hardest_negatives(model, rows, 0, progress=False)
    with pytest.raises(InputError, match="must be above 0"):
        hardest_negatives(model, rows, 5, margin=0.0, progress=False)
    with pytest.raises(InputError, match="fewer than two identities"):
        hardest_negatives(model, rows[:4], 5, progress=False)


def test_the_verdict_states_orders_sizes_and_training(tmp_path) -> None:
    draw_person(1, 0, (40, 90)).save(tmp_path / "a.png")
    draw_person(1, 1, (16, 32)).save(tmp_path / "b.png")
    files = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    found = verify(model_of(pairs={"sampling": "all", "negatives": 2}), *files)
    there, back = by_hand(*files), by_hand(*files[::-1])
    assert found.orders == pytest.approx((there, back), abs=1e-5)
    assert found.probability == pytest.approx((there + back) / 2, abs=1e-5)
    assert str(found).startswith(f"same person: {50 * (there + back):.1f} % (mean of both orders, {100 * there:.1f} %")
    assert "trained on 2 pairs of two people for each of one" in str(found)
    assert "The pictures, 90x40 and 32x16 (height x width), were resized to 32x16." in str(found)
    assert "on 1 pair of two" in verify(model_of(pairs={"sampling": "balanced", "negatives": 2}), *files).rests_on
    assert "mined" not in str(found)
    mined = model_of(pairs={"sampling": "all", "negatives": 2, "mining": "semi-hard", "mined_share": 0.25})
    said = "for each of one, of them up to 25 % mined (semi-hard negatives); it was not calibrated"
    assert said in verify(mined, *files).rests_on
    assert "trained" not in verify(model_of(), *files).rests_on


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_as_many_pairs_are_compared_at_once_as_was_asked_for(people: Benchmark, batch_size: int | None) -> None:
    model, rows = model_of(), people.query
    pairs = np.array(list(combinations(range(len(rows)), 2)) * 3)  # 45
    found = score_pairs(model, rows, pairs, batch_size=batch_size, memory=1, progress=False)
    assert model.network.largest == (batch_size or BATCH)
    wanted = [(by_hand(*rows.files[pair]) + by_hand(*rows.files[pair[::-1]])) / 2 for pair in pairs]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    model.network.largest = 0
    PairScorer(model, rows, people.gallery, batch_size=batch_size, progress=False).block(slice(None), slice(None))
    assert model.network.largest == (batch_size or BATCH)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        score_pairs(model, rows, pairs, batch_size=0, progress=False)


def test_within_a_cascade_the_comparing_has_no_bar_of_its_own(people: Benchmark, monkeypatch) -> None:
    shown = []

    def tracked(items, total, title, progress=True):
        shown.append((title, progress))
        return items

    monkeypatch.setattr(pairs, "tracked", tracked)
    monkeypatch.setattr(pairs, "BATCH", 1)
    for cascaded in (False, True):
        scorer = PairScorer(model_of(), people.query, people.gallery, cascaded=cascaded)
        scorer.block(slice(0, 1), slice(None))
    assert shown == [("Comparing", True), ("Comparing", False)]


def test_what_cannot_be_compared(people: Benchmark) -> None:
    with pytest.raises(InputError, match="these rows are tracklets: give a data set of images"):
        score_pairs(model_of(), Sightings([1, 2], files=["a", "b", "c"], offsets=[0, 2, 3]), np.array([[0, 1]]))
    with pytest.raises(InputError, match="name no files"):
        PairScorer(model_of(), Sightings([1]), people.gallery)


def test_weights_of_another_kind_name_their_commands() -> None:
    with pytest.raises(WeightsError, match=r"an embedding network, not of a pairwise .* `reidentify embed`"):
        load_pairs("osnet-x0.25-msmt17")
    with pytest.raises(WeightsError, match="a pairwise one must be of this package"):
        load_pairs("any.onnx")


def test_saved_weights_are_loaded_as_they_were(people: Benchmark, tmp_path) -> None:
    torch.manual_seed(0)
    settings, shown = PairSettings("idla", channels=(4, 5)), Preprocessing(64, 48)
    network = build_pairs(settings, shown).eval()
    card = Card("small", dataclasses.asdict(settings), shown, 500, "", "", kind="pairs")
    save_weights(network.state_dict(), card, tmp_path / "weights.safetensors")
    model = load_pairs(tmp_path, "cpu")
    assert model.size == (64, 48)
    files = people.query.files.tolist()
    pairs = np.array([[0, 1], [2, 5], [3, 3]])
    images = np.stack([decode(file, (64, 48)) for file in files])
    batch = Batch(torch.from_numpy(images).permute(0, 3, 1, 2)[:, None], torch.zeros(len(files), dtype=torch.int64))
    with torch.inference_mode():
        orders = [network(batch[pairs[:, i]], batch[pairs[:, 1 - i]]).logits.softmax(1)[:, 1] for i in (0, 1)]
    found = score_pairs(model, people.query, pairs, progress=False)
    np.testing.assert_allclose(found, torch.stack(orders).mean(0), atol=1e-6)
    assert found.std() > 1e-6


def test_joints_come_with_the_images(people: Benchmark, monkeypatch) -> None:
    """A joint at the middle of its file lies at the middle of what the network sees."""
    seen = []

    class Posed(Colours):
        wants_keypoints = True

        def encode(self, batch: Batch) -> dict[str, Tensor]:
            assert batch.keypoints is not None
            seen.append(batch.keypoints)
            return super().encode(batch)

    rows = people.query
    joints = np.zeros((len(rows), 14, 3), np.float32)
    joints[:, 0] = 15.5, 31.5, 1  # files are 32 wide and 64 high
    model = model_of()
    model.network = Posed()
    score_pairs(model, rows.replace(keypoints=joints), np.array([[0, 1]]), progress=False)
    assert seen[0].shape == (2, 1, 14, 3)
    assert seen[0][0, 0, 0].tolist() == pytest.approx([7.5, 15.5, 1])
    assert not seen[0][:, :, 1:].any()
    # Of a gallery without joints they are found, where the network runs and as the cache is used.
    asked = []

    class Pose(PoseModel):
        def __init__(self) -> None:
            super().__init__(lambda images: images, Preprocessing(*SIZE), torch.device("cpu"), "drawn", "drawn")

        def keypoints(self, sightings: Sightings, **options: object) -> np.ndarray:
            return np.tile(np.array([3.5, 7.5, 0.5], np.float32), (len(sightings), 14, 1))

    monkeypatch.setattr("reidentify.pose.load_pose", lambda *given: asked.append(given) or Pose())
    monkeypatch.setattr("reidentify.pose.kept_joints", None)  # would be looked into with a cache
    query, gallery = rows[[0]].replace(keypoints=joints[:1]), people.gallery[[0, 1]]
    PairScorer(model, query, gallery, cache=False, progress=False).block([0], [0, 1])
    assert asked == [("pose-cpu", model.device)]
    assert torch.cat(seen[1:])[:, 0, 3].tolist() == [[0, 0, 0], [1.5, 3.5, 0.5], [1.5, 3.5, 0.5]]
