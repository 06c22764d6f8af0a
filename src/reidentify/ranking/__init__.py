"""Ranking: embeddings in, ranked lists and scores out. Knows no network and no files."""
