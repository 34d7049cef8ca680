"""Models from other frameworks."""
