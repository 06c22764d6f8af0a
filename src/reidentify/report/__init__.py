"""Pictures for people: ranked lists, curves, HTML."""
