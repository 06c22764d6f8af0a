"""The recipes, one YAML each."""
