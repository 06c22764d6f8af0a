"""The report: what its page shows, that it needs no other file, and what it refuses."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from reidentify import Embeddings, ImageError, InputError, Sightings, evaluate
from reidentify.ranking.distance import DotProduct
from reidentify.ranking.evaluate import match_sightings
from reidentify.ranking.metrics import score
from reidentify.report import write
from reidentify.report.charts import sample_pairs
from reidentify.report.lists import PICTURE, Entry, RankedList, best_and_worst, clock, montage, ranked_lists


class Page(HTMLParser):
    """What a test asks of a page: links, classes of the pictures of each list, and its words."""

    def __init__(self, path):
        super().__init__()
        self.sources, self.lists, self.words, self.tags = [], [], "", set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.sources += [attrs[k] for k in ("src", "srcset", "href") if k in attrs]
        if attrs.get("class") == "list":
            self.lists.append([])
        elif attrs.get("class") in ("query", "match", "wrong"):
            self.lists[-1].append(attrs["class"])

    def handle_data(self, data):
        self.words += data


@pytest.fixture
def sides(tmp_path):
    """One query; its ranking list is junk, wrong, match, own camera, distractor, of which two are left out."""
    files = []
    for i, size in enumerate([(64, 128), (64, 128), (128, 64), (30, 200), (64, 128), (64, 128)]):
        files.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", size, (40 * i, 90, 200)).save(files[-1])
    angles = np.linspace(0, 1, 6)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    people = Embeddings(
        vectors, Sightings([5, -1, 6, 5, 5, 0], [1, 2, 2, 2, 1, 3], [0, 1, np.nan, 3723, 4, 5], files=files)
    )
    return people[[0]], people[1:]


def test_the_page_shows_the_ranking_list_without_junk(sides, tmp_path):
    result = evaluate(*sides)
    path = write(result, *sides, tmp_path / "out", title="Mine & <yours>")
    assert path == tmp_path / "out" / "report.html"
    page = Page(path)
    assert page.lists == [["query", "wrong", "match", "wrong"]]
    assert "Mine & <yours>" in page.words
    assert "camera 2" in page.words
    assert "1:02:03" in page.words  # of the match
    assert result.rule in page.words
    assert "50.0 %" in page.words  # mAP: the match is second
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "camera_pairs_mAP.png",
        "camera_pairs_rank1.png",
        "cmc.png",
        "ranked_best.png",
        "report.html",
        "similarity.png",
    ]


def test_the_page_needs_no_other_file_and_its_pictures_open(sides, tmp_path):
    path = write(evaluate(*sides), *sides, tmp_path / "out")
    page = Page(path)
    assert not {"script", "link", "iframe"} & page.tags
    assert len(page.sources) == 4 + 2 * 4  # a list of four pictures; four charts, light and dark
    assert all(s.startswith("data:image/") for s in page.sources)
    assert not re.search(r"https?://|url\(", path.read_text())
    for picture in path.parent.glob("*.png"):
        with Image.open(picture) as image:
            image.load()
            assert min(image.size) > 200
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10  # not blank


def test_a_montage_frames_each_picture_and_crops_none():
    def entry(size, right):
        picture = Image.new("RGB", size, "black")
        for corner in ((0, 0), (size[0] - 1, size[1] - 1)):
            picture.putpixel(corner, (1, 2, 3))
        return Entry(picture, "camera 1", "", right)

    sizes = [PICTURE, (PICTURE[0], 40), (30, PICTURE[1])]
    entries = [entry(size, right) for size, right in zip(sizes, (None, True, False))]
    image = np.array(montage([RankedList("title", entries[0], entries[1:])]))
    assert (image == (1, 2, 3)).all(axis=2).sum() == 6  # both corners of all three are there
    line = image[image.shape[0] // 2]
    changes = [tuple(int(v) for v in c) for c in line[np.r_[True, (line[1:] != line[:-1]).any(axis=1)]]]
    blue, green, red = (53, 105, 196), (26, 143, 76), (208, 53, 53)
    assert [c for c in changes if c in (blue, green, red)] == [blue, blue, green, green, red, red]


def test_a_tracklet_is_said_to_be_shown_by_its_middle_frame(tmp_path):
    """Frames of another colour each; the query has three, the match four, and the wrong answer is a single image."""
    files = []
    for i in range(8):
        files.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (64, 128), (30 * i, 0, 0)).save(files[-1])
    rows = Sightings([5, 5, 6], [1, 2, 2], files=files, offsets=[0, 3, 7, 8])
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]])
    query, gallery = Embeddings(vectors[:1], rows[:1]), Embeddings(vectors[1:], rows[1:])
    result = evaluate(query, gallery)
    page = Page(write(result, query, gallery, tmp_path / "out"))
    assert page.words.count("middle frame of") == 2
    assert "query camera 1middle frame of 3" in page.words
    assert "1 ✓ matchcamera 2middle frame of 4" in page.words
    scorer = DotProduct(query.vectors, gallery.vectors)
    (shown,) = ranked_lists(np.array([0]), result, rows[:1], rows[1:], scorer, match_sightings(rows[:1], rows[1:]), 10)
    entries = [shown.query, *shown.answers]
    assert [e.frame for e in entries] == ["middle frame of 3", "middle frame of 4", ""]
    assert [e.picture.getpixel((0, 0))[0] for e in entries] == [30 * 1, 30 * 5, 30 * 7]
    # The sheet has one more line of words below the pictures than that of images.
    asked, *answers = (replace(e, frame="") for e in entries)
    width, height = montage([RankedList(shown.title, asked, answers)]).size
    assert montage([shown]).size == (width, height + 20)


def test_a_picture_keeps_its_proportions(sides):
    wide, tall = ranked_lists(
        np.array([0]), evaluate(*sides), sides[0].sightings, sides[1].sightings, *ranking_of(sides), length=10
    )[0].answers[:2]
    assert wide.picture.size == (128, 64)  # 128 x 64
    assert tall.picture.size == (38, 256)  # 30 x 200


def ranking_of(sides):
    scorer = DotProduct(sides[0].vectors, sides[1].vectors)
    return scorer, match_sightings(sides[0].sightings, sides[1].sightings)


def test_without_files_it_says_so(sides, tmp_path):
    query, gallery = (Embeddings(s.vectors, s.sightings.replace(files=None)) for s in sides)
    page = Page(write(evaluate(query, gallery), query, gallery, tmp_path / "out"))
    assert page.lists == []
    assert "No ranked lists: the query names no image files." in page.words
    assert not list((tmp_path / "out").glob("ranked*"))


def test_a_missing_or_broken_picture_is_named_and_nothing_is_written(sides, tmp_path):
    result = evaluate(*sides)
    match = sides[1].sightings.files[2]
    with open(match, "r+b") as file:
        file.truncate(60)
    with pytest.raises(ImageError, match=re.escape(match)):
        write(result, *sides, tmp_path / "out")
    (tmp_path / "3.png").unlink()
    with pytest.raises(ImageError, match="no such file") as error:
        write(result, *sides, tmp_path / "out")
    assert error.value.path == match
    assert not (tmp_path / "out").exists()


def test_a_result_of_other_rows_is_refused(sides, tmp_path):
    with pytest.raises(InputError, match="1 queries and 5 gallery rows, but 1 and 4 were given"):
        write(evaluate(*sides), sides[0], sides[1][:4], tmp_path / "out")


def test_a_scorer_and_sightings_are_enough(tmp_path):
    class Table:
        def block(self, query_rows, gallery_rows):
            return np.array([[0.1, 0.2, 0.3]])[query_rows][:, gallery_rows]

    query, gallery = Sightings([1]), Sightings([2, 1, 1])
    result = evaluate(query, gallery, scorer=Table())
    page = Page(write(result, query, gallery, tmp_path / "out", scorer=Table()))
    assert "58.3 %" in page.words
    assert not list((tmp_path / "out").glob("camera_pairs*"))
    with pytest.raises(InputError, match="no vectors"):
        write(result, query, gallery, tmp_path / "out")


def test_all_matches_and_a_seeded_sample_of_the_rest():
    rng = np.random.default_rng(0)
    sightings = [Sightings(rng.integers(-1, 5, n), rng.integers(1, 4, n)) for n in (20, 300)]
    vectors = [rng.standard_normal((len(s), 8)).astype(np.float32) for s in sightings]
    scorer, matches = DotProduct(*vectors), match_sightings(*sightings)
    distances = scorer.block(slice(None), slice(None))
    (qp, gp), (qc, gc) = [s.pids for s in sightings], [s.camids for s in sightings]
    same = (qp[:, None] == gp) & (qp[:, None] > 0)
    right = same & (qc[:, None] != gc)
    wrong = ~same & (gp != -1)
    everything = sample_pairs(scorer, matches, negatives=20 * 300)
    np.testing.assert_allclose(np.sort(everything.same), np.sort(distances[right]), atol=1e-6)
    np.testing.assert_allclose(np.sort(everything.different), np.sort(distances[wrong]), atol=1e-6)
    some, again, other = (sample_pairs(scorer, matches, negatives=200, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(some.different, again.different)
    assert 100 < len(some.different) <= 200
    assert set(some.different.tolist()) != set(other.different.tolist())


def test_best_and_worst_queries():
    # APs 1, 1/2, 1/3, 1/4 and a query without a match, which is neither.
    result = score(np.tile(np.arange(4), (5, 1)), [1, 2, 3, 4, 9], [1, 2, 3, 4], [1] * 5, [2] * 4)
    best, worst = best_and_worst(result, 1)
    assert (best.tolist(), worst.tolist()) == ([0], [3])
    best, worst = best_and_worst(result, 5)
    assert (best.tolist(), worst.tolist()) == ([0, 1], [3, 2])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (123, "2:03"), (3723.4, "1:02:03"), (-75, "-1:15"), (59.97, "1:00"), (np.nan, "")],
)
def test_times_are_readable(seconds, text):
    assert clock(seconds) == text


def test_a_large_gallery(tmp_path):
    rng = np.random.default_rng(0)
    sides = [
        Embeddings(rng.standard_normal((n, 4)), Sightings(rng.integers(1, 200, n), rng.integers(1, 7, n)))
        for n in (40, 100_000)
    ]
    path = write(evaluate(*sides), *sides, tmp_path)
    assert "100,000 gallery rows" in Page(path).words
    with Image.open(io.BytesIO((tmp_path / "similarity.png").read_bytes())) as image:
        assert image.width > 600
