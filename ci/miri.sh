#!/usr/bin/env bash
# The tests of `src/raw` under Miri, which has no mappings of files: so only those, which are in ordinary memory. Needs a nightly
# toolchain with the component miri.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly miri --version 2>/dev/null; then
    echo "skipped: there is no Miri here (rustup +nightly component add miri)"
    exit 0
fi
MIRIFLAGS="${MIRIFLAGS:--Zmiri-strict-provenance}" cargo +nightly miri test -p chappe --lib raw:: "$@"
