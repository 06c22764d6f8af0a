"""How a gallery is ranked: the options of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from reidentify.errors import InputError
from reidentify.values import Embeddings, Sightings

if TYPE_CHECKING:
    from reidentify.commands.shared import Use
    from reidentify.pairs import PairModel
    from reidentify.ranking.protocol import Protocol

Side: TypeAlias = "Embeddings | Sightings"


@dataclass(frozen=True)
class Ranked:
    """How the gallery is ranked.

    Args:
        protocol: the rule of evaluation by name (market1501, no-cameras, cuhk03-classic, single-shot, mars-official,
            mars-torchreid, market1501-tracklets, ls-vid); default the data set's own.
        multi_query: a query asks with the mean of all images of its person and camera (multi-query of Market-1501).
        expand: average a query with so many of its nearest gallery images first (average query expansion).
        augment: average a gallery image with so many of its nearest others first (database augmentation).
        spacetime: a folder written by `reidentify spacetime fit` or by a training with space-time: rank by appearance
            and by time and place.
        rerank: re-rank by k-reciprocal neighbours; settings may follow, as in --rerank k1=20 k2=6 lambda_value=0.3
            base=sqeuclidean.
        rescore: weights of a pairwise network, which ranks the nearest rows anew (a cascade).
        rescore_top: how many rows it ranks anew; default 50.
        between: only queries of the first of these cameras, in a gallery of the second.
    """

    protocol: str | None = None
    multi_query: bool = False
    expand: int | None = None
    augment: int | None = None
    spacetime: str | None = None
    rerank: list[str] | None = None
    rescore: str | None = None
    rescore_top: int | None = None
    between: list[int] | None = None

    def rule(self) -> Protocol | None:
        """The protocol of that name."""
        from reidentify.ranking.protocol import PROTOCOLS

        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise InputError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}")
        return PROTOCOLS.get(self.protocol or "")

    @property
    def top(self) -> int:
        """How many of the nearest rows a pairwise network ranks anew, if one does."""
        return 50 if self.rescore_top is None else self.rescore_top

    def words(self) -> str:
        """What is done besides comparing embeddings."""
        done = {
            "multi-query": self.multi_query,
            f"query expansion by {self.expand}": self.expand,
            f"database augmentation by {self.augment}": self.augment,
            f"space and time from {self.spacetime}": self.spacetime,
            f"k-reciprocal re-ranking {' '.join(self.rerank or [])}".rstrip(): self.rerank is not None,
            f"the nearest {self.top} ranked anew by {self.rescore}": self.rescore,
            f"queries and gallery of cameras {' and '.join(map(str, self.between or []))}": self.between,
        }
        return ", ".join(text for text, asked in done.items() if asked)

    def sides(self, query: Side, gallery: Side) -> tuple[Side, Side]:
        """Query and gallery with the rows and vectors that are compared."""
        from reidentify.ranking import expansion

        if self.between is not None:
            query, gallery = (_of_camera(*some) for some in zip((query, gallery), self.between))
        if not isinstance(query, Embeddings) or not isinstance(gallery, Embeddings):
            return query, gallery
        if self.multi_query:
            query = expansion.multi_query(query, gallery)
        if self.augment is not None:
            gallery = expansion.database_augmentation(gallery, self.augment)
        if self.expand is not None:
            query = expansion.average_query_expansion(query, gallery, self.expand)
        return query, gallery

    def options(self) -> dict[str, Any]:
        """What `reidentify.evaluate` takes."""
        options: dict[str, Any] = {}
        if self.spacetime is not None:
            from reidentify.ranking import fusion

            options["spacetime"] = fusion.load(self.spacetime)
        if self.rerank is not None:
            options |= {"rerank": self._reranker(), "progress": True}
        return options

    def rescorer(self, use: Use) -> PairModel | None:
        """The pairwise network that ranks anew, if one does."""
        if self.rescore is None:
            return None
        from reidentify.pairs import load_pairs

        return load_pairs(self.rescore, use.device)

    def check(self, weights: str | None, pairwise: bool) -> None:
        """Make sure that the options fit what is ranked.

        Args:
            weights: as given; None: embeddings are, without their pictures.
            pairwise: whether the weights are of a pairwise network.

        Raises:
            InputError: they do not.
        """
        if self.between is not None and len(self.between) != 2:
            raise InputError("--between: expected two cameras, that of the queries and that of the gallery")
        if self.top < 1:
            raise InputError(f"--rescore-top: expected 1 or more, got {self.top}")
        if self.rescore is None and self.rescore_top is not None:
            raise InputError("--rescore-top: of how many rows --rescore ranks anew; give --rescore WEIGHTS too")
        if self.rescore is not None and weights is None:
            raise InputError("--rescore compares pictures: evaluate weights with --data, or with --query and --gallery")
        names = ("multi_query", "expand", "augment", "spacetime", "rerank", "rescore")
        for name in names if pairwise else ():
            if getattr(self, name) not in (None, False):
                raise InputError(
                    f"--{name.replace('_', '-')} works on embeddings, and {weights} is a pairwise network; rank with an"
                    " embedding network, and give this one with --rescore"
                )

    def _reranker(self) -> Any:
        import yaml

        from reidentify.ranking.rerank import KReciprocal

        settings: dict[str, Any] = {}
        for text in self.rerank or []:
            key, equals, value = text.partition("=")
            if text == "k-reciprocal":
                continue
            if not equals or key not in KReciprocal.__dataclass_fields__:
                known = ", ".join(KReciprocal.__dataclass_fields__)
                raise InputError(f"--rerank: expected settings KEY=VALUE ({known}), got {text!r}")
            try:
                settings[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise InputError(f"--rerank: {value!r} is not a value of {key}") from None
        return KReciprocal(**settings)


def _of_camera(side: Side, camera: int) -> Side:
    """The rows that a camera saw."""
    import numpy as np

    from reidentify.ranking.evaluate import sightings_of

    camids = sightings_of(side).camids
    seen = np.flatnonzero([] if camids is None else camids == camera)
    if not len(seen):
        known = "none is known" if camids is None else f"there are {', '.join(map(str, sorted({*camids.tolist()})))}"
        raise InputError(f"--between: no image of camera {camera} on its side; of the cameras {known}")
    return side[seen]
