"""The training of pairwise networks."""
