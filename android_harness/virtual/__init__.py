"""Virtual phones: Android's own adbd without a phone (README.md in this folder)."""

from android_harness.virtual.image import Image, build_image
from android_harness.virtual.options import Options
from android_harness.virtual.phones import (
    Offer,
    VirtualPhone,
    offer,
    offers,
    running,
    start,
    stop,
    stop_all,
)

__all__ = [
    "Image",
    "Offer",
    "Options",
    "VirtualPhone",
    "build_image",
    "offer",
    "offers",
    "running",
    "start",
    "stop",
    "stop_all",
]
