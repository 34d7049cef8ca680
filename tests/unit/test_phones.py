import pytest

from android_harness.phones import advice_for


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("unauthorized", "Allow USB debugging"),
        ("authorizing", "Allow USB debugging"),
        ("offline", "reconnect"),
        ("no permissions", "udev"),
        ("no permissions (missing udev rules? user is in the plugdev group); see [url]", "udev"),
        ("bootloader", "fastboot reboot"),
        ("recovery", "adb reboot"),
        ("sideload", "adb reboot"),
        ("rescue", "adb reboot"),
        ("refused", "tcpip"),
        ("silent", "booting"),
    ],
)
def test_there_is_advice_for_every_state(state: str, word: str) -> None:
    assert word in (advice_for(state) or "")


@pytest.mark.parametrize("state", ["device", "a state of tomorrow", ""])
def test_there_is_none_where_none_is_needed_or_known(state: str) -> None:
    assert advice_for(state) is None
