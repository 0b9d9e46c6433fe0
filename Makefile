# Every target sets up the virtual environment it needs; nothing is installed outside this folder.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS := client/python/modelyard/v1

.DEFAULT_GOAL := help
.PHONY: help setup run demo proto proto-check lint test test-lowest bench bench-quick clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "modelyard needs Python 3.11 or newer; say which with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing; on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[server]' --group test --group lint --group demo
	@touch $@

setup: $(VENV)/.ready ## Make the virtual environment

run: setup ## Start the server on the per-user data folder
	$(BIN)/modelyard server start

demo: setup ## Log, link, promote and use a model on the embedded server
	@$(BIN)/python examples/quickstart/demo.py

$(VENV)-proto/.ready: proto/tools.txt
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet -r proto/tools.txt
	@touch $@

proto: $(VENV)-proto/.ready ## Generate the Python stubs from the protos, with the pinned tools
	rm -f $(STUBS)/*_pb2*.py $(STUBS)/*_pb2*.pyi
	PATH="$(CURDIR)/$(VENV)-proto/bin:$$PATH" $(VENV)-proto/bin/python -m grpc_tools.protoc -I proto \
	  --python_out=client/python --grpc_python_out=client/python \
	  --mypy_out=quiet:client/python --mypy_grpc_out=quiet:client/python proto/modelyard/v1/*.proto

proto-check: $(VENV)-proto/.ready ## Lint the protos; fail when the stubs differ from them
	$(VENV)-proto/bin/buf lint proto
	$(VENV)-proto/bin/buf format --diff --exit-code proto
	$(MAKE) --no-print-directory proto
	git diff --exit-code -- $(STUBS)
	@test -z "$$(git ls-files --others --exclude-standard $(STUBS))"

lint: setup ## Check style, types and the walls between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## Run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-lowest: ## Run the SDK once on the lowest grpcio and protobuf it declares
	tests/lowest.sh

bench: setup ## Measure beside peers and physical limits (long)
	$(BIN)/python -m tests.bench

bench-quick: setup ## The same at reduced sizes, under five minutes once installed
	$(BIN)/python -m tests.bench --quick

clean: ## Remove the virtual environments and caches
	rm -rf $(VENV) $(VENV)-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
