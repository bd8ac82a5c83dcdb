# Each target is one line that calls a tool; `.venv` is made at first use. PYTHON chooses the interpreter,
# MINUTES and SEED what `make chaos` and `make fuzz` do, WORKERS how many processes run tests at once, PEERS beside
# what `make bench` measures (etcd,pysyncobj).
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3
PARALLEL = -n $(WORKERS) --dist loadgroup

.PHONY: demo test check compiled proto sim mutants bench chaos fuzz audit sbom wheels docs cluster clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --upgrade pip && $(BIN)/pip install --quiet -e '.[dev]' && touch $@

demo: .venv/installed
	$(BIN)/qbft demo

test: .venv/installed
	$(BIN)/pytest $(PARALLEL) tests/core tests/parity --cov && $(BIN)/pytest $(PARALLEL) --durations=15 --ignore=tests/core --ignore=tests/parity

check: .venv/installed
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python proto/generate.py --check && $(MAKE) --no-print-directory docs

compiled: .venv/installed
	rm -rf dist/compiled && HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m build --wheel --outdir dist/compiled && $(BIN)/pip install --quiet --no-deps --target dist/compiled/site dist/compiled/*.whl && PYTHONPATH=dist/compiled/site QBFT_COMPILED=1 $(BIN)/pytest $(PARALLEL) -m "not pure" tests/core tests/parity

# Not --quiet: then warnings, as of a broken link, do not count.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

proto: .venv/installed
	$(BIN)/python proto/generate.py

sim: .venv/installed
	$(BIN)/qbft simulate swarm --seeds 0:2000 && $(BIN)/qbft simulate twins --part 1/10

mutants: .venv/installed
	$(BIN)/python tests/sim/mutation.py

bench: .venv/installed
	$(BIN)/python benchmarks/engine.py && $(BIN)/python benchmarks/engine.py --round-change && $(BIN)/python benchmarks/cluster.py --concurrency 1,16,64,256 --stream $(if $(PEERS),--peers $(PEERS))

chaos: .venv/installed
	$(BIN)/qbft chaos --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

fuzz: .venv/installed
	$(BIN)/pip install --quiet -e '.[fuzz]' && $(BIN)/python tests/fuzz/fuzz.py --minutes $(or $(MINUTES),6) $(if $(SEED),--seed $(SEED))

audit: .venv/installed
	$(BIN)/pip install --quiet -e '.[audit]' && $(BIN)/pip freeze --exclude-editable | $(BIN)/pip-audit --strict --no-deps --disable-pip -r /dev/stdin

sbom: .venv/installed
	rm -rf dist/sbom && $(BIN)/pip install --quiet -e '.[audit]' && $(BIN)/python -m venv --without-pip dist/sbom && $(BIN)/pip --python dist/sbom/bin/python install --quiet '.[node]' && $(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/qbft.cdx.json dist/sbom/bin/python

wheels: .venv/installed
	$(BIN)/python tests/releases/installs.py

cluster:
	docker compose up --build

clean:
	rm -rf .venv dist build
