"""Build the runner bundles: ``python -m android_harness.runner.build [--abi x86_64 ...]``."""

import argparse
import sys
import time
from collections.abc import Sequence

from android_harness.errors import HarnessError
from android_harness.runner.bundle import SUPPORTED_ABIS, Bundle, build_bundle, load_bundle


def main(argv: Sequence[str] | None = None) -> int:
    """Build what was asked for; 1 when one of them failed, after trying the others."""
    parser = argparse.ArgumentParser(prog="python -m android_harness.runner.build")
    parser.add_argument(
        "--abi",
        action="append",
        choices=SUPPORTED_ABIS,
        help="build this one only; may be given again (default: all)",
    )
    abis = tuple(dict.fromkeys(parser.parse_args(argv).abi or SUPPORTED_ABIS))
    return 0 if all([_build(abi) for abi in abis]) else 1


def _build(abi: str) -> bool:
    before, begin = load_bundle(abi), time.monotonic()
    try:
        bundle = build_bundle(abi)
    except HarnessError as exc:
        sys.stderr.write(f"runner {abi}: {exc}\n")
        return False
    seconds = time.monotonic() - begin
    done = "up to date" if bundle == before else f"built in {seconds:.1f} s"
    sys.stdout.write(f"runner {abi}: {done}; {_summary(bundle)}\n")
    return True


def _summary(bundle: Bundle) -> str:
    size_mb = bundle.bytes / 1e6
    return (
        f"{len(bundle.files)} files, {size_mb:.1f} MB, LiteRT {bundle.engine_version} "
        f"({bundle.engine_sha256[:12]}) in {bundle.directory}"
    )


if __name__ == "__main__":
    sys.exit(main())
