# Every target sets up the virtual environment it needs; nothing is installed outside this folder.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS := client/python/modelyard/v1 client/python/modelyard/local/v1
GO_STUBS := client/go/v1
WEB := server/modelyard_server/web/dist

.DEFAULT_GOAL := help
.PHONY: help setup run demo web web-check web-shots proto proto-check proto-breaking lint test test-quick test-lowest test-libraries bench bench-quick bench-web clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

define check_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "modelyard needs Python 3.11 or newer; say which with: make PYTHON=python3.12"; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt-get install $(notdir $(PYTHON))-venv"; exit 1; }
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(check_python)
	@echo "Setting up $(VENV): once, about half a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[server]' --group test --group lint --group demo
	@touch $@

setup: $(VENV)/.ready ## Make the virtual environment

run: setup ## Start the server on the per-user data folder
	$(BIN)/modelyard server start

demo: setup ## Log, link, promote and use a model on the embedded server
	@$(BIN)/python examples/quickstart/demo.py

$(VENV)-proto/.ready: proto/tools.txt
	$(check_python)
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet -r proto/tools.txt
	@touch $@

$(VENV)-proto/.ready-go: proto/go-tools.txt $(VENV)-proto/.ready
	grep -v '^#' proto/go-tools.txt | GOBIN="$(CURDIR)/$(VENV)-proto/bin" xargs -n 1 go install
	@touch $@

proto: $(VENV)-proto/.ready ## Generate the stubs from the protos, with the pinned tools; Go's where Go is installed
	rm -f $(foreach folder,$(STUBS),$(folder)/*_pb2*.py $(folder)/*_pb2*.pyi)
	PATH="$(CURDIR)/$(VENV)-proto/bin:$$PATH" $(VENV)-proto/bin/python -m grpc_tools.protoc -I proto \
	  --python_out=client/python --grpc_python_out=client/python \
	  --mypy_out=quiet:client/python --mypy_grpc_out=quiet:client/python proto/modelyard/v1/*.proto proto/modelyard/local/v1/*.proto
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory proto-go; \
	  else echo "Go is not installed: its stubs stay as they are"; fi

.PHONY: proto-go
proto-go: $(VENV)-proto/.ready-go
	rm -f $(GO_STUBS)/*.pb.go
	PATH="$(CURDIR)/$(VENV)-proto/bin:$$PATH" $(VENV)-proto/bin/python -m grpc_tools.protoc -I proto \
	  --go_out=client/go --go_opt=module=modelyard \
	  --go-grpc_out=client/go --go-grpc_opt=module=modelyard proto/modelyard/v1/*.proto
	cp proto/service-config.json $(GO_STUBS)/

proto-check: $(VENV)-proto/.ready ## Lint the protos; fail when the stubs differ from them, or old clients break
	$(VENV)-proto/bin/buf lint proto
	$(VENV)-proto/bin/buf format --diff --exit-code proto
	$(MAKE) --no-print-directory proto-breaking
	$(MAKE) --no-print-directory proto
	git diff --exit-code -- $(STUBS) $(GO_STUBS)
	@test -z "$$(git ls-files --others --exclude-standard $(STUBS) $(GO_STUBS))"

$(VENV)-web/.ready: client/web/node.txt
	$(check_python)
	$(PYTHON) -m venv $(VENV)-web
	$(VENV)-web/bin/python -m pip install --quiet -r client/web/node.txt
	@touch $@

web: $(VENV)-proto/.ready $(VENV)-web/.ready ## Build the web page into the server's package
	client/web/build.sh $(WEB)

web-shots: setup ## Take pictures of every view of the web page into web-shots/, and those of the documents
	$(BIN)/python -m tests.web.shots web-shots

web-check: $(VENV)-proto/.ready $(VENV)-web/.ready ## Fail when the built web page differs from its sources
	@rm -rf $(VENV)-web/built
	client/web/build.sh $(VENV)-web/built
	diff -r $(WEB) $(VENV)-web/built

proto-breaking: $(VENV)-proto/.ready ## Compare the protos with what was published, or with AGAINST=<git ref>
	BUF="$(CURDIR)/$(VENV)-proto/bin/buf" AGAINST="$(AGAINST)" proto/breaking.sh

lint: setup ## Check style, types and the import rules between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

WORKERS ?= 2
XDIST := -n $(WORKERS) --dist loadscope

test: setup ## Run all tests, by two workers
	$(BIN)/python -m pytest $(XDIST) $(PYTEST_ARGS)

test-quick: setup ## Run the main job and the rules with Python only, in under a minute and a half: for the working loop
	MODELYARD_TEST_PARTS=none $(BIN)/python -m pytest $(XDIST) -m quick -r fE $(PYTEST_ARGS)

test-lowest: setup ## Run the SDK once on the lowest grpcio and protobuf it declares
	tests/lowest.sh

# TensorFlow and PyTorch do not work in one process.
$(VENV)-libraries/.ready $(VENV)-tensorflow/.ready: $(VENV)-%/.ready: pyproject.toml constraints.txt
	$(check_python)
	@$(PYTHON) -m venv $(VENV)-$*
	@$(VENV)-$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(VENV)-$*/bin/python -m pip install --quiet -c constraints.txt -e '.[server]' --group test --group $*
	@touch $@

test-libraries: $(VENV)-libraries/.ready $(VENV)-tensorflow/.ready ## Run the tests of large libraries, such as HF Trainer (installs gigabytes)
	$(VENV)-libraries/bin/python -m pytest -n0 tests/libraries
	$(VENV)-tensorflow/bin/python -m pytest -n0 tests/libraries

bench: setup ## Measure, compared with MLflow and with limits of the hardware (long)
	$(BIN)/python -m tests.bench

bench-quick: setup ## The same at reduced sizes, under five minutes once installed
	$(BIN)/python -m tests.bench --quick

bench-web: setup ## Measure the web page in Chromium, beside MLflow's, at 200,000 versions and a run of a million points
	$(BIN)/python -m tests.bench web

clean: ## Remove the virtual environments and caches
	rm -rf $(VENV) $(VENV)-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
