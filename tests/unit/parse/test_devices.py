import pytest

from android_harness.errors import ParseError
from android_harness.parse.devices import parse_device_lines, parse_devices

UDEV = (
    "no permissions (missing udev rules? user is in the plugdev group); "
    "see [http://developer.android.com/tools/device.html]"
)
LONG = (
    "List of devices attached\n"
    "47101FDAP0001          device usb:1-4.2 product:shiba model:Pixel_8 device:shiba "
    "transport_id:3\n"
    "192.168.1.20:5555      device product:a model:SM_G991B device:o1s transport_id:12\n"
    "adb-R5-x._adb-tls-connect._tcp. offline transport_id:4\n"
    f"????????????           {UDEV} usb:1-1 transport_id:5\n"
    "Bad Serial 01          unauthorized usb:2-1 transport_id:6\n"
    "emulator-5554          recovery\n\n"
)


def test_the_long_form() -> None:
    phones = parse_devices(LONG)
    assert [phone.state for phone in phones] == [
        "device",
        "device",
        "offline",
        UDEV,
        "unauthorized",
        "recovery",
    ]
    assert [phone.serial for phone in phones] == [
        "47101FDAP0001",
        "192.168.1.20:5555",
        "adb-R5-x._adb-tls-connect._tcp.",
        "????????????",
        "Bad Serial 01",
        "emulator-5554",
    ]
    assert phones[0].product == {"product": "shiba", "model": "Pixel_8", "device": "shiba"}
    assert (phones[0].usb_path, phones[0].transport_id) == ("1-4.2", 3)
    assert phones[1].usb_path is None


@pytest.mark.parametrize("state", ["device", "offline", UDEV, "a state of tomorrow"])
def test_the_short_form(state: str) -> None:
    (phone,) = parse_devices(f"List of devices attached\nA serial:1\t{state}\n\n")
    assert (phone.serial, phone.state) == ("A serial:1", state)


def test_the_servers_own_answer_has_no_banner() -> None:
    assert parse_device_lines("X1\tdevice\n")[0].serial == "X1"
    assert parse_device_lines("") == ()


def test_what_the_daemon_says_when_it_starts_is_no_phone() -> None:
    text = (
        "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
        "List of devices attached\n\n"
    )
    assert parse_devices(text) == ()


@pytest.mark.parametrize("text", ["", "adb: command not found\n"])
def test_no_banner_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_devices(text)


def test_a_line_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ParseError, match="X1 is somewhere"):
        parse_devices("List of devices attached\nX1 is somewhere\n")
