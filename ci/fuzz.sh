#!/usr/bin/env bash
# The fuzz targets, each for so many seconds (60), with the address sanitizer. Needs cargo-fuzz and a nightly toolchain. What comes after the
# seconds goes to libFuzzer; `cargo +nightly fuzz run TARGET FILE` repeats one input.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

cargo fuzz --version >/dev/null 2>&1 || { echo "skipped: cargo-fuzz is not installed (cargo install cargo-fuzz)"; exit 0; }
cargo +nightly --version >/dev/null 2>&1 || { echo "skipped: there is no nightly toolchain (rustup toolchain install nightly)"; exit 0; }
CHAPPE_DIR="$(mktemp -d -p /dev/shm)" && export CHAPPE_DIR && trap 'rm -rf "$CHAPPE_DIR"' EXIT
# A call that has not ended after 25 seconds is a finding, as a crash is. Leaks are not looked for between two inputs: the library's threads are
# in the middle of starting and ending then, and the sanitizer takes what such a thread alone knows of for lost.
for target in $(cargo +nightly fuzz list); do
    mkdir -p "corpus/$target" # what is new goes there, beside the seeds
    cargo +nightly fuzz run "$target" "corpus/$target" "seeds/${target%_*}" -- -max_total_time="${1:-60}" -timeout=25 -max_len=512 -len_control=0 -detect_leaks=0 "${@:2}"
done
