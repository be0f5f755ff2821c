PY ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
PIP := $(BIN)/pip install -q

.PHONY: demo test test-slow test-extras lint type docs bench clean

demo: .venv/.ok
	$(BIN)/dosewright demo

# A file of tests a process; threads that wait do not spin, so that processes may share cores.
test: .venv/.ok
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: .venv/.ok
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m slow

# What `make test` skips without the optional packages.
test-extras: .venv/.extras
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m oracles

lint: .venv/.dev
	$(BIN)/ruff check .
	PYTHONPATH=typings $(BIN)/lint-imports

type: .venv/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/.docs
	$(BIN)/pdoc --docformat numpy -o build/docs dosewright

bench: .venv/.ok
	$(BIN)/python -m benchmarks.speed

# The one place that sets up a machine. torch goes first, from the CPU index, so that nothing later pulls CUDA.
.venv/.ok: pyproject.toml
	$(PY) -m venv .venv
	$(PIP) --retries 0 --timeout 10 --extra-index-url $(TORCH_INDEX) "torch>=2.6,<2.14"
	$(PIP) -e ".[test]"
	touch $@

.venv/.dev: .venv/.ok
	$(PIP) -e ".[dev]"
	touch $@

.venv/.extras: .venv/.ok
	$(PIP) -e ".[oracles]"
	touch $@

.venv/.docs: .venv/.ok
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
