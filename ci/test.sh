#!/usr/bin/env bash
# Behaviour: all tests of the library and the command, with and without optimisation. Arguments go to both runs.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test "$@"
cargo test --release "$@"
