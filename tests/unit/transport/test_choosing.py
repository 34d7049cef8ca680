import pytest

from android_harness.transport.adb_server import Server, server_address
from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.transport.choosing import parse_endpoint
from android_harness.transport.stream_transport import parse_banner


@pytest.mark.parametrize(
    ("selector", "endpoint"),
    [
        ("127.0.0.1:5555", ("127.0.0.1", 5555)),
        ("192.168.1.7", ("192.168.1.7", 5555)),
        ("localhost", ("localhost", 5555)),
        ("lab-phone:4444", ("lab-phone", 4444)),
        ("[::1]:5037", ("::1", 5037)),
        ("[fe80::1]", ("fe80::1", 5555)),
        ("emulator-5554", ("127.0.0.1", 5555)),
        ("R58M12ABCDE", None),
        ("0123456789ABCDEF", None),
        ("usb:1-4", None),
        ("usb:1-4.2", None),
        ("adb-R58M-x._adb-tls-connect._tcp", None),
        ("host:0", None),
        ("host:99999", None),
        ("", None),
        ("a b:5555", None),
    ],
)
def test_a_selector_names_an_endpoint_or_a_serial(
    selector: str, endpoint: tuple[str, int] | None
) -> None:
    assert parse_endpoint(selector) == endpoint


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Server(host="127.0.0.1", port=5037)),
        ({"ANDROID_ADB_SERVER_PORT": "6000"}, Server(host="127.0.0.1", port=6000)),
        ({"ANDROID_ADB_SERVER_PORT": "many"}, Server(host="127.0.0.1", port=5037)),
        ({"ADB_SERVER_SOCKET": "tcp:7000"}, Server(host="127.0.0.1", port=7000)),
        ({"ADB_SERVER_SOCKET": "tcp:lab:7000"}, Server(host="lab", port=7000)),
        ({"ADB_SERVER_SOCKET": "tcp:[::1]:7000"}, Server(host="::1", port=7000)),
        ({"ADB_SERVER_SOCKET": "localfilesystem:/run/adb"}, None),
        (
            {"ADB_SERVER_SOCKET": "tcp:7000", "ANDROID_ADB_SERVER_PORT": "6000"},
            Server(host="127.0.0.1", port=7000),
        ),
    ],
)
def test_the_server_is_looked_for_where_adb_looks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: Server | None
) -> None:
    names = ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT", "ANDROID_ADB_SERVER_ADDRESS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert server_address() == expected


@pytest.mark.parametrize(
    ("banner", "values", "features"),
    [
        (
            "device::ro.product.name=p;ro.product.model=Pixel_8;ro.product.device=d;"
            "features=shell_v2,cmd",
            {"ro.product.name": "p", "ro.product.model": "Pixel_8", "ro.product.device": "d"},
            {"shell_v2", "cmd"},
        ),
        (
            "device::ro.product.name=p;features=shell_v2::ro.product.name=;features=",
            {"ro.product.name": "p"},
            {"shell_v2"},
        ),
        ("device::", {}, set()),
        ("", {}, set()),
        ("device::ro.product.model=A=B;", {"ro.product.model": "A=B"}, set()),
    ],
)
def test_the_banner_tells_product_and_features(
    banner: str, values: dict[str, str], features: set[str]
) -> None:
    assert parse_banner(banner) == (values, features)


def test_an_endpoint_of_six_parts_keeps_its_brackets() -> None:
    assert AdbShellTcp("::1", 5555).endpoint == "[::1]:5555"


def test_the_description_tells_why() -> None:
    assert AdbShellTcp("h", why="no adb server runs").description == (
        "adb-shell over TCP (no adb server runs)"
    )
