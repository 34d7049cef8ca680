import pytest

from device_bench.report.charts.svg import clean, inline
from device_bench.report.errors import UnexpectedSvg

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4" width="4" height="4">'


def drawn(body: str) -> str:
    return inline(f"{HEAD}{body}</svg>", key="k", label="what it shows")


def test_the_root_keeps_its_box_and_gets_a_name() -> None:
    assert drawn('<rect width="1"/>').startswith(
        '<svg viewBox="0 0 4 4" role="img" aria-label="what it shows">'
    )


@pytest.mark.parametrize(
    "body", ["<script>x</script>", "<foreignObject/>", "<image/>", "<a/>", "<use/>", "<style/>"]
)
def test_only_drawing_elements_are_let_through(body: str) -> None:
    with pytest.raises(UnexpectedSvg, match="no page shows"):
        drawn(body)


def test_a_label_becomes_a_tooltip() -> None:
    found = drawn('<path aria-label="a &lt;b&gt; &amp; c" role="graphics-symbol" d="M0,0"/>')
    assert '<path d="M0,0"><title>a &lt;b&gt; &amp; c</title></path>' in found


def test_a_group_gets_no_tooltip() -> None:
    assert "<title>" not in drawn('<g aria-label="axis"><rect width="1"/></g>')


def test_ids_begin_with_the_key() -> None:
    found = drawn('<defs><clipPath id="c0"><rect width="1"/></clipPath></defs>'
                  '<g clip-path="url(#c0)"><rect width="1"/></g>')  # fmt: skip
    assert 'id="k-c0"' in found
    assert 'clip-path="url(#k-c0)"' in found


def test_fonts_styles_and_hidden_parts_are_dropped() -> None:
    found = drawn('<text font-family="x" style="fill:red">a</text><path display="none"/><g/>')
    assert found.endswith("><text>a</text></svg>")


def test_decimals_that_nobody_sees_are_cut() -> None:
    assert 'd="M1.23,4.56"' in drawn('<path d="M1.2345678,4.5600001"/>')


def test_text_of_labels_has_no_control_characters() -> None:
    assert clean("a\x00b\n c\u2028d\r\te") == "a\ufffdb c\ufffdd e"
