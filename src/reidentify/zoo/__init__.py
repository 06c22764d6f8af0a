"""The small default weights with their cards."""
