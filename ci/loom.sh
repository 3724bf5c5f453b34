#!/usr/bin/env bash
# The protocols under loom, then every interleaving of the objects and a death before every step. Arguments choose models by words in
# their names; LOOM_MAX_PREEMPTIONS, CHAPPE_MODEL_PREEMPTIONS and CHAPPE_MODEL_SECOND (1: every second death) say how deep.
set -euo pipefail
cd "$(dirname "$0")/.."

export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}" CHAPPE_MODEL_PREEMPTIONS="${CHAPPE_MODEL_PREEMPTIONS:-1}"
cargo run --release -p chappe-models --features loom --bin loom-models -- "$@"
cargo test --release -p chappe-models -- "$@"
