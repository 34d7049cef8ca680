import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.parse.getprop import parse_getprop

KEYS = st.from_regex(r"[a-z][a-z0-9._-]{0,30}", fullmatch=True)
# Anything a vendor may have written, but for what looks like the next property.
VALUES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\r[\x0b\x0c\x1c\x1d\x1e\x85"),
    max_size=60,
).map(lambda text: text.replace("\u2028", "").replace("\u2029", ""))


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.sampled_from(["\n", "\r\n", "\r\r\n"]))
def test_whatever_was_set_is_read(properties: dict[str, str], newline: str) -> None:
    printed = "".join(f"[{key}]: [{value}]\n" for key, value in properties.items())
    assert parse_getprop(printed.replace("\n", newline)) == properties


def test_values_may_hold_newlines_and_brackets() -> None:
    text = "[a.list]: [one]\ntwo]\n\nthree]]\n[b]: []\n[c]: [ spaced ]\n"
    assert parse_getprop(text) == {"a.list": "one]\ntwo]\n\nthree]", "b": "", "c": " spaced "}


def test_no_output_is_no_property() -> None:
    assert parse_getprop("") == {}
    assert parse_getprop("\r\n") == {}


def test_other_text_is_refused() -> None:
    with pytest.raises(ParseError, match="no property"):
        parse_getprop("/system/bin/sh: getprop: not found\n")


def test_noise_before_the_first_property_is_left_out() -> None:
    assert parse_getprop("WARNING: linker\n[a]: [b]\n") == {"a": "b"}
