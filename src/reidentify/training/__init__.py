"""Recipe -> trained weights."""
