"""What all tests share."""

from hypothesis import settings

# Machines are shared and noisy: a slow example is no fault.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
