"""Reports for people: ranked lists, curves, camera pairs, and a page that holds them all."""

from reidentify.report.page import write

__all__ = ["write"]
