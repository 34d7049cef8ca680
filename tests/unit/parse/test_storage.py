import pytest

from android_harness.errors import ParseError
from android_harness.parse.storage import parse_df


@pytest.mark.parametrize(
    "text",
    [
        "Filesystem     1K-blocks     Used Available Use% Mounted on\n"
        "/dev/block/dm-8  1000000   400000    600000  40% /data/user/0\n",
        "Filesystem                                1K-blocks   Used Available Use% Mounted on\n"
        "/dev/block/platform/soc/1d84000.ufshc/by-name/userdata\n"
        "                                            1000000 400000    600000  40% /data/user/0\n",
        "Filesystem 1K-blocks Used Available Use% Mounted on\r\n"
        "/dev/fuse 1000000 400000 600000 40% /data/user/0\r\n",
    ],
)
def test_toybox(text: str) -> None:
    storage = parse_df(text)
    assert storage.total_bytes == 1_000_000 * 1024
    assert storage.free_bytes == 600_000 * 1024
    assert storage.mounted_on == "/data/user/0"


def test_toolbox_of_android_5() -> None:
    text = (
        "Filesystem               Size     Used     Free   Blksize\n"
        "/data                   12.5G   512.0M     1.5G   4096\n"
    )
    storage = parse_df(text)
    assert storage.total_bytes == int(12.5 * 2**30)
    assert storage.free_bytes == int(1.5 * 2**30)


def test_a_full_disk_has_0_bytes_free() -> None:
    text = "Filesystem 1K-blocks Used Available Use% Mounted on\ntmpfs 100 100 0 100% /data\n"
    assert parse_df(text).free_bytes == 0


@pytest.mark.parametrize(
    "text", ["", "df: /data: Permission denied\n", "Filesystem 1K-blocks\nx y z\n", "a\nb 1 2 3\n"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_df(text)
