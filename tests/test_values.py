"""Sightings and Embeddings: validation, selection, joining, Parquet both ways."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reidentify import Embeddings, InputError, Sightings


def tracklets() -> Sightings:
    """Three rows of 2, 1 and 3 frames."""
    return Sightings(
        [7, 7, 9],
        camids=[1, 2, 1],
        times=[0.0, 1.0, 5.0, 8.0, 9.0, 10.0],
        files=["a0", "a1", "b0", "c0", "c1", "c2"],
        split=["train", "query", "gallery"],
        attributes={"hat": [0, 1, -1]},
        frames=range(6),
        boxes=np.arange(24).reshape(6, 4),
        keypoints=np.arange(6 * 14 * 3).reshape(6, 14, 3),
        offsets=[0, 2, 3, 6],
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"camids": [1]}, "camids: expected shape 2, got 1"),
        ({"times": [0.0]}, "times: expected shape 2, got 1"),
        ({"boxes": np.zeros((2, 3))}, "boxes: expected shape 2 x 4, got 2 x 3"),
        ({"keypoints": np.zeros((2, 14))}, "keypoints: expected shape 2 x any x 3, got 2 x 14"),
        ({"attributes": {"hat": [1]}}, "attribute hat: expected shape 2, got 1"),
        ({"camids": ["north", "south"]}, "camids: expected values of type int64"),
        ({"camids": [1, 2**63]}, "camids: expected values of type int64"),
        ({"offsets": [0, 2, 2]}, "every row has a frame"),
    ],
)
def test_a_wrong_column_is_named_with_both_shapes(columns: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sightings([1, 2], **columns)


def test_selection_takes_the_frames_along() -> None:
    rows = tracklets()
    for index in ([2, 0], np.array([2, 0])):
        taken = rows[index]
        assert taken.files.tolist() == ["c0", "c1", "c2", "a0", "a1"]
        assert taken.offsets.tolist() == [0, 3, 5]
        assert taken.attributes["hat"].tolist() == [-1, 0]
        assert taken.keypoints[3, 0, 0] == 0
    assert rows[rows.pids == 7].files.tolist() == ["a0", "a1", "b0"]
    assert rows[1:].times.tolist() == [5.0, 8.0, 9.0, 10.0]
    assert len(rows[[]]) == 0


def test_row_values() -> None:
    rows = tracklets()
    assert rows.lengths.tolist() == [2, 1, 3]
    assert rows.frame_rows().tolist() == [0, 0, 1, 2, 2, 2]
    assert rows.row_times().tolist() == [0.5, 5.0, 9.0]
    assert Sightings([-1, 0, 4, 4]).identities.tolist() == [4]
    assert not rows.is_images
    assert Sightings([1, 2]).is_images


def test_joining_fills_what_one_part_does_not_know() -> None:
    joined = Sightings.concat([tracklets(), Sightings([3], files=["d"])])
    assert joined.camids.tolist() == [1, 2, 1, -1]
    assert np.isnan(joined.times[-1])
    assert joined.files[-1] == "d"
    assert joined.attributes["hat"].tolist() == [0, 1, -1, -1]
    assert joined.offsets.tolist() == [0, 2, 3, 6, 7]
    with pytest.raises(InputError, match="nothing to join"):
        Sightings.concat([])


def test_joints_that_one_part_lacks_are_unknown_and_not_unseen() -> None:
    unseen = np.zeros((1, 14, 3))
    joined = Sightings.concat([Sightings([3]), Sightings([4], keypoints=unseen)])
    assert np.isnan(joined.keypoints[0]).all()
    assert not joined.keypoints[1].any()


@pytest.mark.parametrize("rows", [tracklets(), Sightings([1, -1], files=["x", "y"]), Sightings([], files=[])])
def test_parquet_both_ways(rows: Sightings, tmp_path) -> None:
    rows.save(tmp_path / "rows.parquet")
    back = Sightings.load(tmp_path / "rows.parquet")
    for name in (*Sightings.ROWS, *Sightings.FRAMES, "offsets"):
        ours, theirs = getattr(rows, name), getattr(back, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
            assert ours.dtype == theirs.dtype
    assert {k: v.tolist() for k, v in rows.attributes.items()} == {k: v.tolist() for k, v in back.attributes.items()}


def test_embeddings_both_ways_and_selected(tmp_path) -> None:
    embeddings = Embeddings(np.eye(3, 4), tracklets())
    embeddings[[2, 0]].save(tmp_path / "e.parquet")
    back = Embeddings.load(tmp_path / "e.parquet")
    np.testing.assert_array_equal(back.vectors, [[0, 0, 1, 0], [1, 0, 0, 0]])
    assert back.vectors.dtype == np.float32
    assert back.sightings.files.tolist() == ["c0", "c1", "c2", "a0", "a1"]


def test_a_vector_that_is_not_finite_is_named() -> None:
    vectors = np.zeros((3, 2))
    vectors[1, 0] = np.nan
    with pytest.raises(InputError, match=r"the first is row 1 \(b0\)"):
        Embeddings(vectors, tracklets())


def test_a_file_that_is_no_parquet_is_named(tmp_path) -> None:
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(InputError, match=r"x\.parquet: not a Parquet file"):
        Sightings.load(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no such file"):
        Embeddings.load(tmp_path / "y.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pids": [1, None]}, "column pids: row 2 is empty"),
        ({"pids": [None, None]}, "column pids: row 1 is empty"),
        ({"pids": ["a", "b"]}, "column pids: expected numbers, got string"),
        ({"pids": [1, 2], "files": ["a", None]}, "column files: row 2 is empty"),
        ({"pids": [1, 2], "files": [3, 4]}, "column files: expected text, got int64"),
        ({"pids": [1, 2], "boxes": pa.array([None, [0] * 4], pa.list_(pa.int8(), 4))}, "column boxes: row 1 is empty"),
        ({"pids": [1, 2], "length": [2, 1], "files": [["a", "b"], [None]]}, "column files: row 2 is empty"),
        ({"pids": [1, 2], "length": [2, 1], "files": [["a", "b"], None]}, "column files: row 2 is empty"),
        ({"pids": [1, 2], "length": [1, None]}, "column length: row 2 is empty"),
        (
            {"pids": pa.array([1, 2**63], pa.uint64())},
            "column pids: row 2: .* at most 64 bits, got 9223372036854775808",
        ),
        ({"pids": [1.5, 2.0]}, r"column pids: row 1: expected whole numbers of at most 64 bits, got 1\.5"),
    ],
)
def test_cells_that_are_empty_or_of_another_type_are_named(columns: dict, message: str, tmp_path) -> None:
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({**columns, "vector": [[1.0], [2.0]]}), path)
    for kind in (Sightings, Embeddings):
        with pytest.raises(InputError, match=r"theirs\.parquet: " + message):
            kind.load(path)


def test_two_columns_of_one_name_are_named(tmp_path) -> None:
    ones = pa.array([1, 1])
    pq.write_table(pa.Table.from_arrays([ones, ones, ones], ["pids", "camids", "camids"]), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: has two columns called camids"):
        Sightings.load(tmp_path / "t.parquet")


def test_unknown_times_and_categories_written_by_others_are_read(tmp_path) -> None:
    split = pa.array(["query", "gallery"]).dictionary_encode()
    pq.write_table(pa.table({"pids": [1, 2], "times": [None, 2.5], "split": split}), tmp_path / "t.parquet")
    rows = Sightings.load(tmp_path / "t.parquet")
    np.testing.assert_array_equal(rows.times, [np.nan, 2.5])
    assert rows.split.tolist() == ["query", "gallery"]


def test_vectors_written_by_others_are_read_or_explained(tmp_path) -> None:
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"pids": [1, 2], "vector": [[1.0, 0.0], [0.0, 2.0]]}), path)
    np.testing.assert_array_equal(Embeddings.load(path).vectors, [[1, 0], [0, 2]])
    for column, message in (
        ([1.0, 2.0], "list of numbers per row"),
        ([[1.0], [1.0, 2.0]], "of one length"),
        ([[1.0], None], "column vector: row 2 is empty"),
        ([[1.0], [None]], "the first is row 1"),
        ([["a"], ["b"]], "column vector: expected numbers, got string"),
    ):
        pq.write_table(pa.table({"pids": [1, 2], "vector": column}), path)
        with pytest.raises(InputError, match=message):
            Embeddings.load(path)
