from android_harness.phones import ListedPhone
from device_bench.listing import describe_phones


def phone(**changes):
    fields = {
        "serial": "A1",
        "state": "device",
        "transport": "adb server",
        "model": "Pixel 8",
        "android": "14",
        "soc": "Tensor G3",
        "abis": ("arm64-v8a",),
        "battery_percent": 81.0,
        "advice": None,
    }
    return ListedPhone(**{**fields, **changes})


def test_no_phone_says_how_to_get_one():
    assert "USB debugging" in describe_phones(())


def test_a_phone_is_a_row_under_its_heads():
    head, row = describe_phones((phone(),)).splitlines()
    assert head.split()[:3] == ["SERIAL", "STATE", "MODEL"]
    assert row.index("Pixel 8") == head.index("MODEL")
    assert "81 %" in row


def test_what_is_unknown_is_a_dash_and_what_to_do_stands_below():
    blocked = phone(
        state="unauthorized", model=None, android=None, soc=None, abis=(), battery_percent=None,
        advice="unlock the phone",
    )  # fmt: skip
    _, row, advice = describe_phones((blocked,)).splitlines()
    assert row.split()[2:7] == ["-", "-", "-", "-", "-"]
    assert advice == "  -> unlock the phone"
