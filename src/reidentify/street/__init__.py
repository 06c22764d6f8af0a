"""A rendered camera network with complete ground truth: the embedded default."""
