"""Build, start, stop and list virtual phones: ``python -m android_harness.virtual``."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from android_harness.errors import HarnessError, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import image, phones, qemu
from android_harness.virtual.options import DATA_MB, Options

_KINDS = (Fidelity.CONTAINER, Fidelity.EMULATED, Fidelity.KVM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 1 with the reason on stderr."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    commands = {"build": _build, "start": _start, "stop": _stop, "list": _list, "offers": _offers}
    try:
        commands[asked.command](asked)
    except (HarnessError, ValueError) as error:  # ValueError: sizes and ports out of range
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m android_harness.virtual", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the image a phone is started from")
    build.add_argument("--arch", choices=tuple(qemu.PROGRAM), help="default: this host's")
    _add_start(commands.add_parser("start", help="start a phone; it stays until stopped"))
    stop = commands.add_parser("stop", help="stop phones, whoever started them")
    stop.add_argument("names", nargs="*", metavar="NAME")
    stop.add_argument("--name", action="append", default=[], help="the same as NAME")
    stop.add_argument("--all", action="store_true", help="every phone of this working folder")
    commands.add_parser("list", help="list started phones, after cleaning up dead ones")
    commands.add_parser("offers", help="list the kinds of phone this host can start")
    return parser


def _add_start(start: argparse.ArgumentParser) -> None:
    start.add_argument("--kind", choices=[kind.value for kind in _KINDS], help="default: the best")
    start.add_argument("--arch", choices=tuple(qemu.PROGRAM))
    start.add_argument("--name", help="default: the kind and a number")
    start.add_argument("--port", type=int, default=0, help="default: a free one")
    start.add_argument("--data-mb", type=int, default=DATA_MB, help="size of /data")
    start.add_argument(
        "--authorized-key",
        type=Path,
        action="append",
        metavar="FILE",
        help="ask for a key and know this one (for example ~/.android/adbkey.pub)",
    )


def _build(asked: argparse.Namespace) -> None:
    begun = time.monotonic()
    built = image.build_image(asked.arch or qemu.host_arch() or "amd64")
    _say(f"{built.folder}: {built.abi}, {time.monotonic() - begun:.1f} s")


def _start(asked: argparse.Namespace) -> None:
    keys = asked.authorized_key and tuple(_read_key(file) for file in asked.authorized_key)
    options = Options(port=asked.port, data_mb=asked.data_mb, authorized_keys=keys, keep=True)
    fidelity, arch = (Fidelity(asked.kind), asked.arch) if asked.kind else _best(asked.arch)
    begun = time.monotonic()
    phone = phones.start(fidelity, arch, asked.name, options)
    address = f"{phone.host}:{phone.port}"
    _say(f"{phone.name}: {phone.fidelity} {phone.abi}, ready in {time.monotonic() - begun:.1f} s")
    _say(f"  connect: adb connect {address} && adb -s {address} shell")
    _say(f"  stop:    python -m android_harness.virtual stop {phone.name}")


def _best(arch: str | None) -> tuple[Fidelity, str]:
    """The first kind that can be started, of the architecture asked for if any."""
    candidates = [offer for offer in phones.offers() if arch in {None, offer.arch}]
    for offer in candidates:
        if offer.ready:
            return offer.fidelity, offer.arch
    reasons = "; ".join(f"{offer.fidelity} {offer.arch}: {offer.reason}" for offer in candidates)
    raise VirtualPhoneError("start", f"this host can start none: {reasons}")


def _read_key(file: Path) -> str:
    try:
        return file.expanduser().read_text().strip()
    except OSError as error:
        raise VirtualPhoneError("start", f"no public key in {file}: {error.strerror}") from error


def _stop(asked: argparse.Namespace) -> None:
    names = [*asked.names, *asked.name]
    if not names and not asked.all:
        raise VirtualPhoneError("stop", "say which phone, or --all")
    for name in names:
        phones.stop(name)
        _say(f"{name}: stopped")
    for name in phones.stop_all() if asked.all else ():
        _say(f"{name}: stopped")


def _list(_: argparse.Namespace) -> None:
    for phone in phones.running():
        _say(f"{phone.name}  {phone.fidelity}  {phone.abi}  {phone.host}:{phone.port}")


def _offers(_: argparse.Namespace) -> None:
    for offer in phones.offers():
        mark = "ready" if offer.ready else "no"
        _say(f"{offer.fidelity:10} {offer.arch:6} {mark:6} {offer.reason}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
