import pytest

from android_harness.transport.deadline import Pace, Stalled


def test_the_next_step_waits_no_longer_than_the_whole() -> None:
    assert Pace(1000.0, 5.0).wait_s() == 5.0
    assert 999.0 < Pace(1000.0).wait_s() <= 1000.0
    assert Pace(2.0, 500.0).wait_s() <= 2.0


def test_a_passed_deadline_stalls() -> None:
    with pytest.raises(Stalled) as caught:
        Pace(0.0, 5.0).wait_s()
    assert caught.value.overall


def test_a_step_without_progress_is_told_from_the_whole() -> None:
    assert not Pace(1000.0, 5.0).stalled().overall
    assert Pace(1000.0, 5.0).stalled().seconds == 5.0
    assert Pace(1000.0).stalled().overall
    assert Pace(0.0, 5.0).stalled().seconds == 0.0
