"""Device text to dataclasses: pure functions, no I/O."""
