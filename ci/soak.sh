#!/usr/bin/env bash
# The soak: producers, consumers and a semaphore for an hour, or as many minutes as the argument says, while processes are killed, stopped
# and replaced. CHAPPE_SOAK_SEED repeats the choices of a run.
set -euo pipefail
cd "$(dirname "$0")/.."

export CHAPPE_SOAK_SECONDS=$((${1:-60} * 60))
cargo test --release --test soak
