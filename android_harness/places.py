"""Where the harness keeps what it builds and what it remembers, inside the working folder."""

import os
from pathlib import Path

# Relative on purpose: a clone keeps everything to itself; the variable moves it for tests.
BUILD = Path(os.environ.get("DEPLOY_BENCH_BUILD", "build")).absolute()
DEBS = BUILD / "debs"  # Debian packages fetched for the phone's file system and the bundles
RUNNERS = BUILD / "runner"  # <abi>/: runner binary and bundle
IMAGES = BUILD / "phone"  # <arch>/: root file system, kernel, initramfs
PHONES = BUILD / "phones"  # <name>/: pid, sockets, console of a started virtual phone
VARIANTS = BUILD / "variants"  # stage cache and artifacts of recipes

# Everything we write on a phone lies under this one directory.
REMOTE_ROOT = "/data/local/tmp/deploy-bench"
