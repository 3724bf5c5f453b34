#!/usr/bin/env bash
# The kill tests at full length, for queues, their doorbells and semaphores: a death at every instruction, then 10000 at random moments. Takes
# long; run it before a release and after every change to src/raw or src/shm. What is set in the environment is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

export CHAPPE_KILL_EVERY="${CHAPPE_KILL_EVERY:-1}" CHAPPE_KILL_MODES="${CHAPPE_KILL_MODES:-4}"
export CHAPPE_KILL_PAIRS="${CHAPPE_KILL_PAIRS:-20}" CHAPPE_KILL_ROUNDS="${CHAPPE_KILL_ROUNDS:-10000}"
export CHAPPE_KILL_ONE="${CHAPPE_KILL_ONE:-2000}"
cargo test --release --test kill
cargo test --release -p chappe-mqueue --test kill
cargo test --release --test random_kill -- --nocapture
cargo test --release --test doorbell_kill
cargo test --release --test doorbell_random_kill -- --nocapture
cargo test --release --test semaphore_kill
cargo test --release --test semaphore_random_kill -- --nocapture
