"""Which phones stand in when none is connected."""

import pytest

from android_harness import virtual
from android_harness.errors import NoPhone
from android_harness.evidence import Fidelity
from android_harness.phone import Phone
from device_bench.targets import Selection, VirtualChoice, selected

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_phone_connected(monkeypatch):
    """Whoever runs the tests may have phones: this host's adb server and USB are not asked."""
    monkeypatch.setattr("device_bench.targets.list_phones", lambda: ())


@pytest.fixture
def nothing_virtual(monkeypatch):
    """A host that can start neither a container nor QEMU."""
    none = (
        virtual.Offer(fidelity=Fidelity.CONTAINER, arch="amd64", ready=False, reason="not root"),
        virtual.Offer(fidelity=Fidelity.EMULATED, arch="arm64", ready=False, reason="no QEMU"),
    )
    monkeypatch.setattr(virtual, "offers", lambda: none)


def test_where_nothing_virtual_starts_the_simulated_phone_stands_in(nothing_virtual):
    said = []
    with selected(Selection(), said.append) as targets:
        assert [target.label for target in targets] == ["simulated"]
        with targets[0].connect() as transport:
            identity = Phone(transport).identity
    assert identity.fidelity is Fidelity.SIMULATED
    assert identity.evidence == "host"
    assert "no container phone: not root" in said
    assert "no emulated phone: no QEMU" in said


def test_an_emulated_phone_alone_is_joined_by_one_that_can_be_timed(monkeypatch):
    offers = virtual.offers()
    arm = next(o for o in offers if o.fidelity is Fidelity.EMULATED and o.arch == "arm64")
    if not arm.ready:
        pytest.skip(arm.reason)
    monkeypatch.setattr(virtual, "offers", lambda: (arm,))
    with selected(Selection(), lambda text: None) as targets:
        assert [target.label for target in targets] == ["simulated", "emulated"]


def test_no_virtual_phone_when_ruled_out():
    with (
        pytest.raises(NoPhone, match="ruled out"),
        selected(Selection(virtual=VirtualChoice.NONE), lambda text: None),
    ):
        pass
