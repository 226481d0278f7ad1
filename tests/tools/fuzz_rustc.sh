#!/usr/bin/env bash
# RUSTC_WRAPPER of `make fuzz`: instruments the program's own crates for libFuzzer. What they depend on is compiled as in the
# release build, so that both share one build of the dependency tree; the program's readers are what is fuzzed.
set -euo pipefail
# Coverage as cargo-fuzz asks for it, by flags that a stable compiler has; no sanitizer: the readers hold no unsafe code.
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing)
case "${CARGO_PKG_NAME:-} $*" in
*"--crate-name build_script_"*) exec "$@" ;;
thinkloom*) exec "$@" "${coverage[@]}" ;;
*) exec "$@" ;;
esac
