"""How far the sightings of one person lie apart, network by network: does a training shrink what it means to shrink?

    python benchmarks/spread.py RUN... --data street-tracklets [--out spread.png]

Every test row of the data set is compared with every other. Distances are stated where the mean distance of different
people is 1, so that a network that draws everything together gains nothing (see `reidentify.report.spread`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

import reidentify
from reidentify.commands.shared import benchmark_of
from reidentify.errors import ReidentifyError
from reidentify.files import write
from reidentify.report.charts import LIGHT
from reidentify.report.spread import chart, spread


def main() -> None:
    """Print the table and draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or weights")
    parser.add_argument("--data", required=True, help="a data set")
    parser.add_argument("--root", help="the data root")
    parser.add_argument("--out", type=Path, default=Path("spread.png"), help="the picture (default: %(default)s)")
    given = parser.parse_args()
    try:
        rows = benchmark_of(given.data, given.root).test
        found = {run.name: spread(reidentify.load(run).embed_sightings(rows)) for run in given.runs}
    except ReidentifyError as error:
        raise SystemExit(str(error)) from None
    columns = ("run", "anchors", "mean distance of positives", "variance per anchor", "of negatives (not scaled)")
    table = Table(*columns, title=f"{given.data}: {len(rows):,} rows; distances where the mean of negatives is 1")
    for name, one in found.items():
        table.add_row(
            name, f"{one.anchors:,}", f"{one.relative_mean:.4f}", f"{one.relative_variance:.5f}", f"{one.negative:.3f}"
        )
    Console().print(table)
    write(given.out, chart(found, LIGHT))
    print(given.out)


if __name__ == "__main__":
    main()
