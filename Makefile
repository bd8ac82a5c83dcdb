# Each target is one line that calls a tool; `.venv` is made at first use. PYTHON chooses the interpreter,
# MINUTES and SEED what `make chaos` does.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check proto sim mutants bench chaos cluster clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --upgrade pip && $(BIN)/pip install --quiet -e '.[dev]' && touch $@

demo: .venv/installed
	$(BIN)/qbft demo

test: .venv/installed
	$(BIN)/coverage run -m pytest tests/core tests/parity && $(BIN)/coverage report && $(BIN)/pytest --ignore=tests/core --ignore=tests/parity

check: .venv/installed
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python proto/generate.py --check

proto: .venv/installed
	$(BIN)/python proto/generate.py

sim: .venv/installed
	$(BIN)/qbft simulate swarm --seeds 0:2000 && $(BIN)/qbft simulate twins --part 1/10

mutants: .venv/installed
	$(BIN)/python tests/sim/mutation.py

bench: .venv/installed
	$(BIN)/python benchmarks/engine.py && $(BIN)/python benchmarks/engine.py --round-change && $(BIN)/python benchmarks/cluster.py --nodes 4 --concurrency 1,64

chaos: .venv/installed
	$(BIN)/qbft chaos --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

cluster:
	docker compose up --build

clean:
	rm -rf .venv dist build
