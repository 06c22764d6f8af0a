"""What half-hidden people cost: networks on a test set whose queries are covered in part.

    python benchmarks/occluded.py WEIGHTS... --data market1501 [--cover "lower half" quarter] [--seed 0]

Every query picture is covered (its lower half, or a box of a quarter of it at a random place), the gallery is left as
it is. A network of body parts is scored by one vector of each picture, and by the parts that both pictures show; each
with joints that the pose network finds, in the gallery's pictures and in the covered ones ("found"). Where the data
comes with joints it is scored with these as well ("known"): those that lie under the cover are taken as unseen, and
all others stay. That is what a perfect pose network would tell, not a score of pictures alone, because the data's
joints were found before anything was covered. In brackets: 95 % intervals, resampling identities.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

import reidentify
from reidentify.commands.shared import benchmark_of
from reidentify.data.benchmark import Benchmark
from reidentify.data.cover import Cover, cover
from reidentify.embed import Model
from reidentify.errors import ReidentifyError
from reidentify.files import write
from reidentify.ranking.results import Result
from reidentify.values import Embeddings, Sightings

NOTHING = "nothing"


def ways(model: Model, data: Benchmark) -> list[tuple[str, str]]:
    """How a network compares, and where its joints come from."""
    if not model.wants_keypoints:
        return [("one vector", "")]
    joints = ["found"] if data.sightings.keypoints is None else ["found", "known"]
    return [(compares, which) for which in joints for compares in ("one vector", "common parts")]


def scores(
    model: Model, data: Benchmark, queries: dict[str, Sightings], compares: str, joints: str
) -> dict[str, Result]:
    """A result for each way to cover the queries."""
    known, parts = model.card.dataset == data.name, compares == "common parts"

    def shown(rows: Sightings) -> Sightings:
        return rows.replace(keypoints=None) if joints == "found" else rows

    gallery = model.embed_sightings(shown(data.gallery), cameras=known, parts=parts)
    found = {}
    for name, rows in queries.items():
        said = model.embed_sightings(shown(rows), cameras=known, parts=parts, cache=name == NOTHING)
        query = Embeddings(said.vectors, data.query, said.visibility)
        found[name] = reidentify.evaluate(query, gallery, data.protocol)
    return found


def cell(result: Result) -> str:
    """mAP and rank-1 in percent, with their intervals."""
    bounds = result.intervals()
    texts = []
    for name, value in (("mAP", result.mAP), ("rank1", result.rank(1))):
        low, high = bounds[name]
        texts.append(f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return "\n".join(texts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS", help="shipped weights, or a run folder")
    parser.add_argument("--data", required=True, help="a data set")
    parser.add_argument("--root", help="the data root")
    parser.add_argument("--cover", nargs="+", choices=get_args(Cover), default=["lower half", "quarter"])
    parser.add_argument("--seed", type=int, default=0, help="of the places of random boxes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores there too")
    given = parser.parse_args()
    columns = [NOTHING, *given.cover]
    table = Table("network", "compares", "joints", *columns, title=f"{given.data}: mAP and rank-1 with queries covered")
    stated: list[dict[str, object]] = []
    try:
        data = benchmark_of(given.data, given.root)
        if data.protocol.queries_in_gallery:
            raise SystemExit(f"{given.data}: its queries stand in the gallery too, where they are not covered")
        with tempfile.TemporaryDirectory() as folder:
            queries = {NOTHING: data.query}
            for what in given.cover:
                place = Path(folder) / what
                place.mkdir()
                queries[what] = cover(data.query, what, place, given.seed)
            for weights in given.weights:
                model = reidentify.load(weights)
                for compares, joints in ways(model, data):
                    found = scores(model, data, queries, compares, joints)
                    table.add_row(weights, compares, joints, *map(cell, found.values()))
                    for name, result in found.items():
                        one = {"weights": weights, "compares": compares, "joints": joints or None, "covered": name}
                        stated.append({**one, **result.summary(), "intervals": result.intervals()})
    except ReidentifyError as error:
        raise SystemExit(str(error)) from None
    Console().print(table)
    if given.json:
        write(given.json, json.dumps(stated, indent=2) + "\n")


if __name__ == "__main__":
    main()
