#!/usr/bin/env bash
# Sanitizers: the address sanitizer and valgrind's memcheck over the library's tests. What a machine lacks is skipped with a reason.
set -euo pipefail
cd "$(dirname "$0")/.."
