#!/usr/bin/env bash
# The library's tests under sanitizers of addresses and of threads, and under valgrind's memcheck; the words given go to each test run. The
# standard library is not instrumented (that takes rust-src). What a machine lacks is skipped with a reason.
set -euo pipefail
cd "$(dirname "$0")/.."
triple="$(uname -m)-unknown-linux-gnu"
tests=(--lib --test queue --test wakes --test hostile --test doorbell --test doorbell_hostile --test semaphore --test semaphore_hostile)
if cargo +nightly --version >/dev/null 2>&1; then
    # Left out is a test that limits the address space, of which this sanitizer takes terabytes.
    ASAN_OPTIONS=allocator_may_return_null=1 RUSTFLAGS=-Zsanitizer=address cargo +nightly test --target "$triple" \
        --target-dir target/asan "${tests[@]}" --test model --test semaphore_model -- --skip a_length_that_no_memory_holds "$@"
    TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp" RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
        cargo +nightly test --target "$triple" --target-dir target/tsan --lib --test wakes -- "$@"
else
    echo "skipped: the sanitizers for addresses and threads; there is no nightly toolchain (rustup toolchain install nightly)"
fi
if command -v valgrind >/dev/null; then
    # The C library's system calls: those of rustix read the kernel's vDSO, which valgrind takes away.
    export CARGO_BUILD_TARGET="$triple" RUSTFLAGS="--cfg rustix_use_libc"
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$triple")_RUNNER=valgrind -q --error-exitcode=99"
    # Nor does it know futex_waitv: there are no wakes by wills.
    cargo test --target-dir target/valgrind "${tests[@]}" -- --skip a_length_that_no_memory_holds --skip bequest::tests "$@"
else
    echo "skipped: memcheck; valgrind is not installed"
fi
