# `make demo` and `make test` set up everything they need in .venv; a second run reuses it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench speed clean

demo: .venv/ready
	$(BIN)/gvmrl demo --out runs/demo

test: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

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

clean:
	rm -rf .venv runs
