"""The report of an evaluation: one HTML file that holds all its pictures, and the same pictures as PNG beside it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from reidentify import files
from reidentify.errors import InputError
from reidentify.ranking.distance import Scorer
from reidentify.ranking.evaluate import match_sightings, scorer_for, sightings_of
from reidentify.ranking.results import Result
from reidentify.report import charts
from reidentify.report import verification as judged
from reidentify.report.lists import Entry, RankedList, best_and_worst, mark, montage, ranked_lists
from reidentify.values import Embeddings, Sightings

if TYPE_CHECKING:
    from PIL import Image

    from reidentify.ranking.open_set import OpenSet
    from reidentify.ranking.verify import Verification

PAGE = "report.html"


def write(
    result: Result,
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    out: str | os.PathLike[str],
    *,
    title: str = "Person re-identification",
    scorer: Scorer | None = None,
    verification: Verification | None = None,
    open_set: OpenSet | None = None,
    lists: int = 5,
    length: int = 10,
    seed: int = 0,
) -> Path:
    """Write `report.html`, which needs no other file, and its pictures as PNG.

    The pictures: `ranked_best.png` and `ranked_worst.png` (left out where the sightings have no files, which the page
    then says), `cmc.png`, `similarity.png`, and with cameras `camera_pairs_rank1.png` and `camera_pairs_mAP.png`.
    Everything is made before the first file is written.

    Args:
        result: what `evaluate` found for `query` and `gallery`.
        query, gallery: as given to `evaluate`.
        out: the folder, made if need be.
        title: heading of the page.
        scorer: as given to `evaluate`.
        verification, open_set: what was found for the same rows; drawn as `roc.png` and `open_set.png`.
        lists: queries shown among the best, and among the worst.
        length: gallery rows shown for each.
        seed: of the sample of different people.

    Returns:
        Path of the page.

    Raises:
        ImageError: a picture of a ranked list is missing or cannot be read; it is named.
        InputError: the result is of other queries, or sightings are given without a scorer.
    """
    sides = sightings_of(query), sightings_of(gallery)
    if (result.queries, result.gallery) != (len(query), len(gallery)):
        raise InputError(
            f"the result is of {result.queries} queries and {result.gallery} gallery rows, but {len(query)} and"
            f" {len(gallery)} were given: give the rows that were evaluated"
        )
    cosine = scorer is None
    matches = match_sightings(*sides, result.protocol)
    scorer = scorer_for(query, gallery, matches, scorer=scorer)
    pictures: dict[str, bytes] = {}
    sections = [_scores(result)]

    if sides[0].files is None or sides[1].files is None:
        side = "query" if sides[0].files is None else "gallery"
        sections.append(f"<section><p>No ranked lists: the {side} names no image files.</p></section>")
    else:
        best, worst = best_and_worst(result, lists)
        for name, heading, chosen in (("best", "Best queries", best), ("worst", "Worst queries", worst)):
            if len(chosen):
                ranked = ranked_lists(chosen, result, *sides, scorer, matches, length)
                pictures[f"ranked_{name}.png"] = _encode(montage(ranked), "PNG")
                sections.append(_ranked(heading, ranked, result))

    pairs = charts.sample_pairs(scorer, matches, seed=seed)
    drawn: list[tuple[str, str, Callable[[charts.Theme], bytes]]] = [
        ("cmc", "CMC: cumulative matching characteristic", lambda theme: charts.cmc(result, theme)),
        (
            "similarity",
            "Pairs of the same person and of different people",
            lambda theme: charts.similarity(pairs, theme, cosine),
        ),
    ]
    if (matrix := result.camera_pairs) is not None:
        drawn += [
            ("camera_pairs_rank1", "Rank-1 per camera pair", lambda t: charts.camera_matrix(matrix, "rank1", t)),
            ("camera_pairs_mAP", "mAP per camera pair", lambda t: charts.camera_matrix(matrix, "mAP", t)),
        ]
    if verification is not None:
        drawn.append(("roc", "Verification: same or different by a threshold", lambda t: judged.roc(verification, t)))
    if open_set is not None:
        drawn.append(
            ("open_set", "Open-set search: is the person there at all", lambda t: judged.open_set(open_set, t))
        )
    figures = []
    for name, heading, draw in drawn:
        light = pictures[f"{name}.png"] = draw(charts.LIGHT)
        note = _PAIRS if name.startswith("camera_pairs") else ""
        figures.append(_chart(heading, light, draw(charts.DARK), note))
    sections.append(f'<section class="charts">{"".join(figures)}</section>')

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        files.write(folder / name, content)
    body = "\n".join([f"<h1>{escape(title)}</h1>", *sections])
    files.write(folder / PAGE, _PAGE.format(title=escape(title), style=_STYLE, body=body))
    return folder / PAGE


def _scores(result: Result) -> str:
    values, bounds = result.summary(), result.intervals_if_any()
    names = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}
    names["mAP_trapezoid"] = "mAP, trapezoid"
    tiles = []
    for name, shown in names.items():
        between = ""
        if name in bounds:
            low, high = (100 * v for v in bounds[name])
            between = f"<dd><small>{low:.1f} to {high:.1f}</small></dd>"
        score = f"<dd>{100 * float(values[name]):.1f}<small> %</small></dd>"
        tiles.append(f"<div>{score}{between}<dt>{shown}</dt></div>")
    ranking = f"<p>Ranking: {escape(result.ranking)}.</p>" if result.ranking else ""
    sure = " The range below a score is its 95 % interval, from resampling identities." if bounds else ""
    return (
        f'<section><p class="sub">{result.queries:,} queries, {result.gallery:,} gallery rows, protocol'
        f" {escape(result.protocol.name)}</p><dl>{''.join(tiles)}</dl>"
        f"<p>{escape(result.rule)}</p>{ranking}"
        f"<p>mAP is the mean precision at the matches; mAP, mINP and rank-k average over the"
        f" {result.valid_queries:,} queries with a match. The trapezoid is the official convention of Market-1501: it"
        f" interpolates precision and averages over all {result.queries:,} queries.{sure}</p></section>"
    )


def _ranked(heading: str, lists: list[RankedList], result: Result) -> str:
    note = (
        ""
        if result.protocol.shots is None
        else "<p>The lists show the whole gallery, from which each draw takes a part.</p>"
    )
    shown = []
    for one in lists:
        entries = "".join(_figure(place, entry) for place, entry in enumerate([one.query, *one.answers]))
        shown.append(f'<h3>{escape(one.title)}</h3><div class="list">{entries}</div>')
    return f"<section><h2>{heading}</h2>{note}{''.join(shown)}</section>"


def _figure(place: int, entry: Entry) -> str:
    kind = "query" if entry.right is None else "match" if entry.right else "wrong"
    words = "".join(f"<span>{escape(text)}</span>" for text in (entry.camera, entry.time) if text)
    words += f'<span class="frame">{escape(entry.frame)}</span>' if entry.frame else ""
    sign, word = mark(place, entry.right)
    source = _uri(_encode(entry.picture, "JPEG"), "jpeg")
    return (
        f'<figure class="{kind}"><img src="{source}" alt="{sign} {word}">'
        f"<figcaption><b>{sign} <i>{word}</i></b>{words}</figcaption></figure>"
    )


def _chart(heading: str, light: bytes, dark: bytes, note: str) -> str:
    caption = f"<figcaption><p>{note}</p></figcaption>" if note else ""
    return (
        f"<figure><h2>{escape(heading)}</h2><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{_uri(dark, "png")}">'
        f'<img src="{_uri(light, "png")}" alt="{escape(heading)}"></picture>{caption}</figure>'
    )


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=88)
    return buffer.getvalue()


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


_PAIRS = (
    "The matches that other gallery cameras hold are ignored, and every wrong answer stays. Grey: no query has a match."
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { --page: #f4f5f7; --card: #ffffff; --ink: #22262b; --soft: #5b636d; --line: #e2e5e9;
  --match: #1a8f4c; --wrong: #d03535; --query: #3569c4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151a; --card: #1c2026; --ink: #e4e7eb; --soft: #a3abb5; --line: #313740;
    --match: #3fbf77; --wrong: #f06a6a; --query: #7aa7f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 8px; }
h3 { font-size: .95rem; font-weight: 500; color: var(--soft); margin: 20px 0 8px; }
p { margin: 8px 0; color: var(--soft); max-width: 80ch; }
section, .charts > figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 16px; margin: 0 0 16px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  background: none; border: 0; padding: 0; }
.charts > figure { margin: 0; }
.charts img { width: 100%; max-width: 560px; height: auto; display: block; margin: 0 auto; }
.sub { margin-top: 0; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 12px; margin: 16px 0; }
dl div { display: flex; flex-direction: column; }
dd { margin: 0; font-size: 1.8rem; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { font-size: 1rem; font-weight: 400; color: var(--soft); }
dt { font-size: .9rem; color: var(--soft); }
.list { display: grid; grid-template-columns: repeat(11, 1fr); gap: 12px; padding: 3px; }
.list figure { margin: 0; min-width: 0; }
.list img { width: 100%; aspect-ratio: 1 / 2; object-fit: contain; display: block; background: var(--line);
  outline: 3px solid var(--c); border-radius: 2px; }
.list figcaption { font-size: .75rem; line-height: 1.3; margin-top: 6px; color: var(--soft); }
.list figcaption b { color: var(--c); font-weight: 600; }
.list i { font-style: normal; }
.list figcaption b, .list figcaption span { display: block; white-space: nowrap; }
.list figcaption .frame { white-space: normal; }
.query { --c: var(--query); } .match { --c: var(--match); } .wrong { --c: var(--wrong); }
@media (max-width: 800px) {
  .list { grid-template-columns: repeat(6, 1fr); gap: 9px; }
  .list .query { grid-row: 1 / span 2; }
  .list figcaption { font-size: .62rem; }
  .list i { display: none; }
}
"""
