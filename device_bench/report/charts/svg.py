"""Vega's SVG made fit for inlining: small, unscripted, readable by screen and mouse.

The chart's text holds names from phones and recipes, so the document is parsed and only
drawing elements are let through, instead of trusting any text in it.
"""

import re
import xml.etree.ElementTree as ET

from markupsafe import Markup

from device_bench.report.errors import UnexpectedSvg

_ELEMENTS = {
    "svg", "g", "path", "line", "rect", "circle", "text", "tspan", "title", "defs", "clipPath",
}  # fmt: skip
_DROPPED_ATTRIBUTES = {
    # text takes the page's font; the one Vega measured with is only near it
    "font-family", "version", "pointer-events", "aria-roledescription", "style", "class",
    "stroke-miterlimit",
}  # fmt: skip
_LONG_DECIMAL = re.compile(r"(\d+\.\d{2})\d+")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_BREAKS = re.compile(r"[ \t\r\n]+")  # no-break spaces stay: they hold a number to its unit
# Not allowed in XML 1.0, and nothing to see.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def clean(text: str) -> str:
    """``text`` without control characters and line ends, for a chart's labels."""
    return _BREAKS.sub(" ", _CONTROL.sub("\ufffd", text)).strip()


def inline(document: str, *, key: str, label: str) -> Markup:
    """Turn a standalone SVG into an element of a page.

    Args:
        document: what vl-convert wrote.
        key: unique on the page; every id of the chart begins with it.
        label: what the chart shows, for those who do not see it.

    Raises:
        UnexpectedSvg: the drawing holds an element that is not on the list.
    """
    root = ET.fromstring(document)
    _check(root)
    _prune(root)
    for element in root.iter():
        _simplify(element, key)
    _add_tooltips(root)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    return Markup(ET.tostring(root, encoding="unicode"))


def _check(root: ET.Element) -> None:
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
        if element.tag not in _ELEMENTS:
            raise UnexpectedSvg(element.tag)


def _prune(parent: ET.Element) -> None:
    """Drop what is never seen: hidden paths, empty groups."""
    for child in list(parent):
        _prune(child)
        empty_group = child.tag == "g" and len(child) == 0
        unseen = child.get("display") == "none" or child.get("class") in {
            "background",
            "foreground",
        }
        if empty_group or unseen:
            parent.remove(child)


def _simplify(element: ET.Element, key: str) -> None:
    for name in list(element.attrib):
        value = element.attrib[name]
        if name in _DROPPED_ATTRIBUTES or (name == "opacity" and value == "1"):
            del element.attrib[name]
        elif name == "id":
            element.attrib[name] = f"{key}-{value}"
        elif name != "aria-label":
            value = _LONG_DECIMAL.sub(r"\1", value)
            element.attrib[name] = _REFERENCE.sub(rf"url(#{key}-\1)", value)


def _add_tooltips(root: ET.Element) -> None:
    """Browsers show an element's title on hover; no script is needed for exact values."""
    for element in root.iter():
        said = element.attrib.pop("aria-label", None)
        element.attrib.pop("role", None)
        if said and element.tag != "g":
            title = ET.SubElement(element, "title")
            title.text = said
