"""Training of pose-guided generation: an encoder, a generator that draws from its features, and their judges."""
