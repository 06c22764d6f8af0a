"""Writes what the documentation generates: `docs/recipes.md` from the types, `docs/data.md` from the readers' facts,
and the tables of `docs/results.md` from `docs/results.json`.

python docs/build.py [--check]
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
import typing
from pathlib import Path

from reidentify.data import benchmarks
from reidentify.hints import words
from reidentify.training.recipe import KINDS, names, read_recipe, settings_of

DOCS = Path(__file__).parent
BEGIN, END = "<!-- tables: made by `make docs` from results.json -->", "<!-- end of tables -->"
PAGES = {"st-reidnet-baseline": "its [published options by name](generation.md#the-baselines-options)"}
"""Of recipes that a page says more of."""
FIELDS = {"method", "data", "metric", "value", "low", "high", "command", "commit", "hardware"}


def recipes() -> str:
    """Every setting with its type, default and meaning, and the shipped recipes."""
    lines = [
        "# Recipes",
        "",
        "A recipe is a YAML file that states what differs from the defaults below. `reidentify train NAME --set"
        " key=value ...` changes single settings; an unknown key is an error that names the nearest valid one.",
        "This page is made by `make docs`.",
        "",
        "| recipe | what it trains |",
        "|---|---|",
    ]
    for name in names():
        more = f" See {PAGES[name]}." if name in PAGES else ""
        lines.append(f"| `{name}` | {read_recipe(name).description}{more} |")
    shown = set()
    for recipe in KINDS.values():
        lines += ["", f"# Recipes of kind `{recipe.kind}`", "", _documented(recipe)[0]]
        sections = {k: v for k, v in settings_of(recipe).items() if dataclasses.is_dataclass(v)}
        again = [f"[`{k}`](#{k})" for k, v in sections.items() if v in shown]
        lines += ["", f"As above: {', '.join(again)}."] if again else []
        for section, kind in sections.items():
            if kind in shown:
                continue
            shown.add(kind)
            summary, meanings = _documented(typing.cast(type, kind))
            lines += ["", f"## {section}", "", summary, "", "| key | type | default | meaning |", "|---|---|---|---|"]
            default = getattr(recipe(), section)
            for key, hint in settings_of(typing.cast(type, kind)).items():
                value = json.dumps(getattr(default, key))
                lines.append(f"| `{section}.{key}` | {words(hint)} | `{value}` | {meanings[key]} |")
    return "\n".join(lines) + "\n"


def _documented(kind: type) -> tuple[str, dict[str, str]]:
    """The summary of a class, and what it says of each argument."""
    text = inspect.getdoc(kind) or ""
    summary = " ".join(text.partition("\nArgs:")[0].split())
    found = re.findall(r"^    (\w+): ((?:.|\n        )*)", text, re.MULTILINE)
    return summary, {name: " ".join(meaning.split()) for name, meaning in found}


def data() -> str:
    """Every data set that is read: published counts and their source, licence, how to obtain it."""
    lines = [
        "# Data sets",
        "",
        "What `reidentify data list` lists. A split is chosen with `@`: `viper@3`. Counts are the published ones, with"
        " their source; `reidentify data check NAME` compares them with what is on disk.",
        "This page is made by `make docs`.",
    ]
    for name in benchmarks.names():
        facts = benchmarks.facts(name)
        counts = [
            f"{split}: " + ", ".join(f"{value:,} {what}" for what, value in vars(count).items() if value is not None)
            for split, count in facts.counts.items()
        ]
        lines += ["", f"## `{name}`", "", f"{facts.title}. Source: {facts.paper}.", ""]
        lines += [f"- {line}" for line in [*counts, f"licence: {facts.licence}", f"obtain: {facts.obtain}"]]
        lines += [f"- {facts.notes}"] if facts.notes else []
    return "\n".join(lines) + "\n"


def results(page: str, rows: list[dict[str, typing.Any]]) -> str:
    """The page with its tables made anew."""
    lines = [BEGIN]
    for data in dict.fromkeys(row["data"] for row in rows):
        lines += ["", f"### {data}", "", "| method | metric | value | interval | commit | hardware | command |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for row in rows:
            if row["data"] == data:
                interval = "" if row["low"] is None else f"{row['low']} to {row['high']}"
                lines.append(
                    f"| {row['method']} | {row['metric']} | {row['value']} | {interval} | `{row['commit']}` |"
                    f" {row['hardware']} | `{row['command']}` |"
                )
    before, _, rest = page.partition(BEGIN)
    return before + "\n".join([*lines, "", END]) + rest.partition(END)[2]


def main() -> int:
    """Write, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the pages are up to date")
    check = parser.parse_args().check
    rows = json.loads((DOCS / "results.json").read_text())
    for row in rows:
        if set(row) != FIELDS:
            raise SystemExit(f"results.json: a row must have the fields {sorted(FIELDS)}, found {sorted(row)}")
    page = DOCS / "results.md"
    wanted = {DOCS / "recipes.md": recipes(), DOCS / "data.md": data(), page: results(page.read_text(), rows)}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.name} is not up to date: run `make docs`", file=sys.stderr)
        else:
            path.write_text(wanted[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
