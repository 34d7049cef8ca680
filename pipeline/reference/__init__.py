"""Host references of a variant, each in a process of its own."""
