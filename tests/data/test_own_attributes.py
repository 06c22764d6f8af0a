"""Attributes of a user's own data: columns of a table, their values by name, and their import."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import pictures

from reidentify import Sightings
from reidentify.cli import main
from reidentify.data.benchmarks import benchmark, join
from reidentify.data.own import import_data, read
from reidentify.errors import InputError, ReidentifyWarning, StorageError
from reidentify.values import Attribute

TABLE = """
path,pid,attribute.hat,attribute.size,attribute.facing,note
1.jpg,ann,yes,10,left,a
2.jpg,ann,,10,right,b
3.jpg,bob,no,9,,c
4.jpg,bob, no ,9,left,d
5.jpg,cyd,unknown,-1,right,e
"""
HAT = Attribute("hat", ("no", "unknown", "yes"))
SIZE = Attribute("size", ("9", "10"))
FACING = Attribute("facing", ("left", "right"), identity=False)
COLUMNS = {"hat": [2, -1, 0, 0, 1], "size": [1, 1, 0, 0, -1], "facing": [0, 1, -1, 0, 1]}


def table(folder: Path, text: str = TABLE) -> Path:
    """A table, and a picture for each of its rows."""
    lines = text.strip().splitlines()
    pictures(folder, [line.split(",")[0] for line in lines[1:]])
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return folder / "people.csv"


def columns(sightings: Sightings) -> dict[str, list[int]]:
    return {name: column.tolist() for name, column in sightings.attributes.items()}


def saved(folder: Path, **attributes: list[int]) -> Path:
    """The Parquet of Sightings of two identities with two images each."""
    pictures(folder, [f"{i}.jpg" for i in range(4)])
    files = np.array([f"{i}.jpg" for i in range(4)], object)
    split = np.array(["train", "train", "query", "gallery"], object)
    Sightings([3, 3, 4, 4], files=files, split=split, attributes=attributes).save(folder / "rows.parquet")
    return folder / "rows.parquet"


# Tables --------------------------------------------------------------------------------------------------------------


def test_columns_of_words_and_numbers(tmp_path):
    b = benchmark(str(table(tmp_path)))
    # Facing is left and right of ann, so it is of the sighting; nobody has two hats or sizes. Nine comes before ten.
    assert b.schema == (HAT, SIZE, FACING)
    assert columns(b.sightings) == COLUMNS
    assert columns(b.train) == {k: np.array(v)[b.sightings.split == "train"].tolist() for k, v in COLUMNS.items()}


def test_junk_and_distractors_do_not_make_an_attribute_one_of_sightings(tmp_path):
    lines = ["path,pid,attribute.hat,attribute.bag", "1.jpg,-1,yes,no", "2.jpg,-1,no,no", "3.jpg,0,yes,no",
             "4.jpg,0,no,no", "5.jpg,1,yes,yes", "6.jpg,1,,no"]  # fmt: skip
    hat, bag = read(table(tmp_path, "\n".join(lines))).schema
    assert (hat.identity, bag.identity) == (True, False)


@pytest.mark.parametrize(
    ("column", "values", "numbers"),
    [
        (pa.array(["b", None, "a", ""]), ("a", "b"), [1, -1, 0, -1]),
        (pa.array(["b", None, "a", "b"]).dictionary_encode(), ("a", "b"), [1, -1, 0, 1]),
        # Whole numbers among which one is missing, as pandas writes them.
        (pa.array([2.0, float("nan"), 10.0, None]), ("2", "10"), [0, -1, 1, -1]),
        (pa.array([0.5, 2.0, 0.5, -1.0]), ("0.5", "2"), [0, 1, 0, -1]),
        (pa.array([True, False, None, True]), ("false", "true"), [1, 0, -1, 1]),
    ],
)
def test_types_of_columns(tmp_path, column, values, numbers):
    files = [p.name for p in pictures(tmp_path, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])]
    pq.write_table(pa.table({"path": files, "pid": [1, 2, 3, 4], "attribute.x": column}), tmp_path / "t.parquet")
    b = read(tmp_path / "t.parquet")
    assert b.schema == (Attribute("x", values),)
    assert columns(b.sightings) == {"x": numbers}


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        (
            "hat",
            ["yes", "yes"],
            r"column attribute\.hat: an attribute has two or more different values, found only yes;",
        ),
        ("hat", ["1", ""], r"column attribute\.hat: .* found only 1; fill the column in, or leave it out"),
        ("hat", ["", ""], r"column attribute\.hat: .* found none"),
        ("hat", ["", "-1"], r"column attribute\.hat: .* found none"),
        ("", ["a", "b"], r"column attribute\.: names no attribute"),
        ("hat", ["2024-05-01", "2024-05-02"], r"row 1, column attribute\.hat: expected a word or a number, got 2024"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(tmp_path, name, cells, message):
    rows = [f"{i}.jpg,{i},{cell}" for i, cell in enumerate(cells, start=1)]
    with pytest.raises(InputError, match=r"people\.csv: " + message) as error:
        read(table(tmp_path, "\n".join([f"path,pid,attribute.{name}", *rows])))
    assert "\n" not in str(error.value)


def test_a_tracklet_has_the_value_of_most_of_its_frames(tmp_path):
    text = """
path,pid,tracklet,frame,attribute.facing,attribute.hat
1.jpg,1,b,3,right,yes
2.jpg,1,a,1,left,yes
3.jpg,1,b,1,left,
4.jpg,1,a,2,,no
5.jpg,1,b,2,right,
6.jpg,2,c,1,,
"""
    b = read(table(tmp_path, text))
    # Tracklets b, a, c in the order of their first rows. Facing: right twice and left once; left; nothing labelled.
    # Hat: yes once; a tie; nothing. Person 1 then has one hat, and faces two ways.
    assert columns(b.sightings) == {"facing": [1, 0, -1], "hat": [1, -1, -1]}
    assert b.schema == (Attribute("facing", ("left", "right"), identity=False), Attribute("hat", ("no", "yes")))


def test_a_row_that_names_a_folder_keeps_its_attributes(tmp_path):
    pictures(tmp_path, ["t/1.jpg", "t/2.jpg", "u/1.jpg"])
    (tmp_path / "people.csv").write_text("path,pid,attribute.hat\nt,1,yes\nu,2,no\n")
    b = read(tmp_path / "people.csv")
    assert b.sightings.lengths.tolist() == [2, 1]
    assert columns(b.sightings) == {"hat": [1, 0]}


# Import --------------------------------------------------------------------------------------------------------------


def test_import_and_read_again(tmp_path):
    imported = import_data(table(tmp_path), tmp_path / "set", seed=3)
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [
        "identities.csv", "schema.json", "sightings.parquet",
    ]  # fmt: skip
    assert json.loads((tmp_path / "set" / "schema.json").read_text())[1:] == [
        {"name": "size", "values": ["9", "10"], "identity": True},
        {"name": "facing", "values": ["left", "right"], "identity": False},
    ]
    for place in (tmp_path / "set", imported):
        b = benchmark(str(place))
        assert b.schema == (HAT, SIZE, FACING)
        assert columns(b.sightings) == COLUMNS
    import_data(tmp_path / "set", tmp_path / "copy")
    assert read(tmp_path / "copy").schema == (HAT, SIZE, FACING)
    assert len(b.train)
    assert join([b, read(tmp_path / "copy")]).schema == b.schema


def test_the_schema_beside_an_imported_table_is_what_counts(tmp_path):
    import_data(table(tmp_path), tmp_path / "set")
    place = tmp_path / "set" / "schema.json"
    changed = [Attribute("hat", ("keins", "unklar", "ja"), identity=False), FACING]
    entries = [{"name": a.name, "values": list(a.values), "identity": a.identity} for a in changed]
    place.write_text(json.dumps(entries))
    assert read(tmp_path / "set").schema == tuple(changed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", r"schema\.json: not JSON"),
        ('{"hat": ["no", "yes"]}', r"schema\.json: expected a list of attributes, each with name, values, identity"),
        ('["hat"]', r"schema\.json: attribute 1: name: expected text"),
        ('[{"name": "hat", "values": [0, 1], "identity": true}]', "attribute 1: values: expected a list, each text"),
        ('[{"name": "hat", "values": ["a", "b"]}]', "attribute 1: identity: expected true or false"),
        ('[{"name": "hat", "values": ["a"], "identity": true}]', r"schema\.json: attribute hat: expected two or more"),
        (
            '[{"name": "hat", "values": ["a", "b"], "identity": true}]',
            r"row 2 \(.*\) has the value 2 of hat, which knows 0 to 1",
        ),
        ('[{"name": "tie", "values": ["a", "b"], "identity": true}]', "the sightings have no attribute tie"),
    ],
)
def test_a_schema_that_cannot_be_used_is_explained(tmp_path, content, message):
    path = saved(tmp_path, hat=[0, 2, 1, 1])
    (tmp_path / "schema.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read(path)
    with pytest.raises(InputError, match=message):
        import_data(path, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_attribute_is_told_once(tmp_path):
    path = saved(tmp_path, hat=[0, 1, 1, 1])
    entry = {"name": "hat", "values": ["no", "yes"], "identity": True}
    (tmp_path / "schema.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(InputError, match=r"schema\.json: tells the attribute hat twice"):
        read(path)


def test_import_never_overwrites_a_schema(tmp_path):
    path = table(tmp_path)
    import_data(path, tmp_path / "set").unlink()
    (tmp_path / "set" / "identities.csv").unlink()
    with pytest.raises(InputError, match=r"set: holds a data set already \(schema\.json\)"):
        import_data(path, tmp_path / "set")


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_leaves_no_half_of_a_data_set(tmp_path, monkeypatch, nth):
    path, replace, count = table(tmp_path), os.replace, 0

    def full(*given: object) -> None:
        nonlocal count
        count += 1
        if count == nth:  # the identities, the schema or the table
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StorageError, match=r"cannot be written \(No space left"):
            import_data(path, tmp_path / "set")
    assert list((tmp_path / "set").iterdir()) == []
    assert import_data(path, tmp_path / "set").exists()


# The Parquet of a Sightings ------------------------------------------------------------------------------------------


def test_values_without_names_are_named_by_their_numbers(tmp_path):
    path = saved(tmp_path, hat=[7, 7, -1, 0], angle=[10, 2, -1, 10])
    b = read(path)
    assert b.schema == (Attribute("hat", ("0", "7")), Attribute("angle", ("2", "10"), identity=False))
    assert columns(b.sightings) == {"hat": [1, 1, -1, 0], "angle": [1, 0, -1, 1]}
    import_data(path, tmp_path / "set")
    again = read(tmp_path / "set")
    assert again.schema == b.schema
    assert columns(again.sightings) == columns(b.sightings)


def test_a_column_that_says_nothing_is_named_and_left_out_of_the_schema(tmp_path):
    path = saved(tmp_path, hat=[0, 0, 1, 1], bag=[5, -1, 5, 5], tie=[-1] * 4)
    with pytest.warns(ReidentifyWarning) as said:
        b = read(path)
    shown = [str(w.message) for w in said]
    assert (
        "rows.parquet: attribute bag is not used: an attribute has two or more different values, found only 5"
        in (shown[0])
    )
    assert "attribute tie is not used: an attribute has two or more different values, found none" in shown[1]
    assert b.schema == (Attribute("hat", ("0", "1")),)
    assert columns(b.sightings) == {"hat": [0, 0, 1, 1], "bag": [5, -1, 5, 5], "tie": [-1] * 4}
    with pytest.warns(ReidentifyWarning):
        import_data(path, tmp_path / "set")
    assert read(tmp_path / "set").schema == b.schema  # said once: the new folder tells which are used


# Commands ------------------------------------------------------------------------------------------------------------


def test_the_commands_take_attributes(tmp_path, capsys):
    assert main(["data", "import", str(table(tmp_path)), "--out", str(tmp_path / "set")]) == 0
    capsys.readouterr()
    assert main(["data", "stats", str(tmp_path / "set")]) == 0
    assert "attributes: 3" in capsys.readouterr().out
    (tmp_path / "people.csv").write_text("path,pid,attribute.hat\n1.jpg,1,yes\n2.jpg,2,yes\n")
    assert main(["data", "stats", str(tmp_path / "people.csv")]) == 2
    captured = capsys.readouterr()
    assert "column attribute.hat: an attribute has two or more different values, found only yes" in captured.err
    assert captured.err.count("\n") == 1
    (tmp_path / "people.csv").write_text("path,pid\n1.jpg,1\n2.jpg,1\n")
    assert main(["data", "stats", str(tmp_path / "people.csv")]) == 0
    assert "attributes" not in capsys.readouterr().out
