"""Losses: each states only its mathematics."""
