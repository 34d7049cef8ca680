"""Size of a model as it is downloaded, beside its size on the phone."""

from typing import Final

# Archives are packed once and downloaded often; 19 is the highest level of ordinary memory use.
LEVEL: Final = 19


def zstd_bytes(content: bytes) -> int:
    """Bytes of ``content`` after zstd: where zeros and repeated weights pay."""
    import zstandard  # not needed by those who only read artifacts

    return len(zstandard.ZstdCompressor(level=LEVEL).compress(content))
