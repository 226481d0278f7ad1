#!/usr/bin/env bash
# RUSTC_WRAPPER of `make fuzz`: instruments the program's own crates for libFuzzer, since their readers are fuzzed. The
# dependencies are compiled as in the release build, so that both share one build of the dependency tree.
set -euo pipefail
# The coverage of cargo-fuzz, by flags of a stable compiler. No sanitizer, because the readers have no unsafe code.
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing)
case "${CARGO_PKG_NAME:-} $*" in
*"--crate-name build_script_"*) exec "$@" ;;
thinkloom*) exec "$@" "${coverage[@]}" ;;
*) exec "$@" ;;
esac
