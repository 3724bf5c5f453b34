#!/usr/bin/env bash
# The kill tests at full length, for queues, their doorbells, semaphores and the C library: a death at the instructions of each operation
# and each repair, then 10000 at random moments. Run it before a release and after every change to src/raw or src/shm. What is set in the environment is kept.
#
# With the word `steps`: only the first part, in which every row is killed at every instruction, but for the later turns of loops, and where there
# are more than CHAPPE_KILL_MOST left, at each n-th, which the row says. Rows in which somebody is left to wake by himself are killed at
# CHAPPE_KILL_PATIENT instructions, from shortly before their commit on.
set -euo pipefail
cd "$(dirname "$0")/.."

export CHAPPE_KILL_EVERY="${CHAPPE_KILL_EVERY:-1}" CHAPPE_KILL_MOST="${CHAPPE_KILL_MOST:-1000}"
export CHAPPE_KILL_PATIENT="${CHAPPE_KILL_PATIENT:-40}" CHAPPE_KILL_PAUSES="${CHAPPE_KILL_PAUSES:-10}"
export CHAPPE_KILL_PAIRS="${CHAPPE_KILL_PAIRS:-6}" CHAPPE_KILL_ONE="${CHAPPE_KILL_ONE:-2000}"
export CHAPPE_KILL_ROUNDS="${CHAPPE_KILL_ROUNDS:-10000}"
for test in kill doorbell_kill semaphore_kill; do
    cargo test --release -p chappe --test "$test"
done
cargo test --release -p chappe-mqueue --test kill
echo "those with steps took $SECONDS s"
[ "${1:-}" != steps ] || exit 0
for test in random_kill doorbell_random_kill semaphore_random_kill; do
    cargo test --release --test "$test" -- --nocapture
done
