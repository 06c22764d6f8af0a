"""Pose-guided generation: a person's features and a pose become a picture, and networks judge it."""
