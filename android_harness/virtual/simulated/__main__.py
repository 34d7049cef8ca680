"""``python -m android_harness.virtual.simulated``: one simulated phone for playing."""

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path

from android_harness.virtual.simulated.config import SimulatedConfig
from android_harness.virtual.simulated.phone import SimulatedPhone


def main(arguments: list[str] | None = None) -> int:
    """Serve one simulated phone until Ctrl-C; its first line of output is ``host:port``."""
    parser = argparse.ArgumentParser(prog="python -m android_harness.virtual.simulated")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--serial", default=SimulatedConfig().serial)
    parser.add_argument("--model", default=SimulatedConfig().model)
    parser.add_argument("--state-dir", type=Path, help="kept at the end; default: a temporary one")
    chosen = parser.parse_args(arguments)
    # A phone that is ended by kill, or started in the background, must clean up too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        phone = _phone_of(chosen)
    except (OSError, ValueError) as error:
        parser.error(f"the phone cannot start: {error}; choose another --port or --state-dir")
    with phone, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"{phone.endpoint}\n")
        sys.stdout.flush()
        threading.Event().wait()
    return 0


def _phone_of(chosen: argparse.Namespace) -> SimulatedPhone:
    return SimulatedPhone(
        SimulatedConfig(
            serial=chosen.serial, model=chosen.model, port=chosen.port, state_dir=chosen.state_dir
        )
    )


if __name__ == "__main__":
    sys.exit(main())
