#!/usr/bin/env bash
# Form: formatting, lints, documentation. A warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
# The command is called `chappe` as the library is, and both would become target/doc/chappe: hence one after the other.
export RUSTDOCFLAGS="-D warnings"
cargo doc --no-deps --workspace --exclude chappe-cli
cargo doc --no-deps -p chappe-cli
