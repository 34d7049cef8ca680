from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from device_bench.report.charts.labels import CHARACTER_PX, Box, Point, place_labels

WIDTH, HEIGHT = 372.0, 250.0


def point(x: float, y: float, text: str = "base_int8", radius: float = 6) -> Point:
    return Point(x_px=x, y_px=y, radius_px=radius, text=text)


def test_a_lone_label_stands_at_the_right_of_its_point() -> None:
    (box,) = place_labels([point(100, 100)], width_px=WIDTH, height_px=HEIGHT)
    assert box is not None
    assert box.left == 110
    assert box.middle == 100


def test_a_label_near_the_right_edge_turns_to_the_left() -> None:
    (box,) = place_labels([point(365, 100)], width_px=WIDTH, height_px=HEIGHT)
    assert box is not None
    assert box.right < 365


def test_labels_of_a_cluster_do_not_cover_each_other() -> None:
    cluster = [point(180 + i, 120 + i, f"variant_{i}_int8") for i in range(8)]
    boxes = [box for box in place_labels(cluster, width_px=WIDTH, height_px=HEIGHT) if box]
    assert len(boxes) == 8
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))


def test_what_finds_no_room_is_left_out_but_never_the_first() -> None:
    crowd = [
        point(180 + i % 7, 120 + i % 5, f"a_rather_long_variant_name_{i:02}") for i in range(60)
    ]
    boxes = place_labels(crowd, width_px=WIDTH, height_px=HEIGHT)
    assert None in boxes
    assert None not in boxes[:2]
    shown = [box for box in boxes[2:] if box]
    assert all(one.overlap(other) <= 40 for one, other in combinations(shown, 2))


@given(st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), min_size=1, max_size=12))
def test_every_point_gets_a_label_as_wide_as_its_text(places: list[tuple[float, float]]) -> None:
    boxes = place_labels([point(x, y) for x, y in places], width_px=WIDTH, height_px=HEIGHT)
    assert len(boxes) == len(places)
    for box in filter(None, boxes):
        assert abs(box.right - box.left - len("base_int8") * CHARACTER_PX) < 1e-6


def test_overlap_is_an_area() -> None:
    one = Box(left=0, top=0, right=10, bottom=10)
    assert one.overlap(Box(left=8, top=5, right=20, bottom=20)) == 10
    assert one.overlap(Box(left=10, top=0, right=20, bottom=10)) == 0
