# `make demo` and `make test` set up everything they need in .venv; a second run reuses it.
PYTHON ?= python3
BIN := .venv/bin
VERL := .venv-verl/bin

.PHONY: demo test test-verl check bench speed clean

demo: .venv/ready
	$(BIN)/gvmrl demo --out runs/demo

test: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check
	$(MAKE) test-verl

# What needs verl, on the real one: contracts, and one training run without a GPU. Its imports warn.
test-verl: .venv-verl/ready
	$(VERL)/python -m pytest -p no:warnings tests/plugins/verl

check: test

# The fair bench, short form: under ten minutes on two idle cores; a second run goes on.
bench: .venv/ready
	$(BIN)/gvmrl bench @configs/bench-short.toml

# How fast the parts are, beside other ways of doing the same.
speed: .venv/ready
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The stamp is made last, so an interrupted set-up starts over. Torch comes first and pinned:
# left to the other packages' ranges, its newest build would bring gigabytes of CUDA libraries.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# verl wants another transformers than the rest, so it has an environment of its own. The extra
# verl would bring a torch with CUDA; hypothesis and pytest are for the tests.
.venv-verl/ready: pyproject.toml constraints-verl.txt
	$(PYTHON) -m venv --clear .venv-verl
	$(VERL)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VERL)/pip install --quiet --disable-pip-version-check -c constraints-verl.txt \
		-e '.[verl]' hypothesis pytest pytest-timeout
	touch $@

clean:
	rm -rf .venv .venv-verl runs
