# make sweep   set up, then run the quickstart on the embedded dataset
# make test    set up, then run all tests
# make check   ruff, mypy and every test that needs no Ray, server or training of seconds: for the loop of editing
# make lint    ruff and mypy
# make evidence   the tables of what we measured ourselves, from its records
# make docs    the documentation as a site in build/docs; a broken link ends it
# make test-cluster   several hosts out of network namespaces: ray up, submit, job submit, Slurm's srun, a host lost (root, 10 minutes)
# make soak    at least 25 kills at random instants, with the study in a journal and in PostgreSQL, and 600 mutations of a sweep's files (15 minutes)
# make tools   by apt-get, as root: PostgreSQL, Chromium, LaTeX and what test-cluster makes hosts with
# make smoke   a narrow ResNet-18 on a few hundred real CIFAR-10 images (unpacked from IMAGES)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
IMAGES ?= ../shared/data/cifar10-jpeg.tar.gz
RUNS   ?= runs

.PHONY: sweep test check docs test-cluster soak tools lint smoke evidence setup constraints clean

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) (about 2 minutes, 6 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' 2> $(VENV)/install.log \
		|| { cat $(VENV)/install.log; exit 1; }
	@touch $@

sweep: setup
	@if [ -e $(RUNS)/quickstart/sweep.json ]; then $(BIN)/alphacl resume quickstart --storage $(RUNS); \
	else $(BIN)/alphacl sweep quickstart --storage $(RUNS); fi

# Tests wait more than they compute: four run side by side on two cores.
SIDE_BY_SIDE := -n 4 --dist loadgroup

test: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

check: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m 'not ray and not server and not slow and not cluster and not soak'

# What 'ray up', the dashboard and the clouds' checks need; and, where root may install them, the tools that the hosts are made with.
$(VENV)/.cluster: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,cluster,aws,gcp]'
	@touch $@

# What the tests skip, with a word, where it is missing: a database, a browser, LaTeX, and the tools that hosts are made with.
TOOLS := postgresql chromium texlive-latex-base texlive-latex-recommended iproute2 util-linux openssh-client openssh-server rsync

tools:
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then echo "make tools: not root, or no apt-get; tests that need one of $(TOOLS) are skipped"; \
	elif ! dpkg -s $(TOOLS) > /dev/null 2>&1; then \
		log=$$(mktemp); { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TOOLS); } > $$log 2>&1 \
		|| { cat $$log; exit 1; }; fi

test-cluster: $(VENV)/.cluster tools
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/cluster -m 'cluster or not (ray or slow)'

soak: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/orchestrator/driver/test_kills.py tests/fuzz -m soak -rP

# What the documentation is built with.
$(VENV)/.docs: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs --doctree-dir build/doctrees . build/docs
	@echo "open build/docs/index.html"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

data/cifar10-jpeg/.unpacked:
	@test -f $(IMAGES) || { echo "make smoke: no file $(IMAGES); give IMAGES=FILE.tar.gz with train/<class>/*.jpg and test/<class>/*.jpg" >&2; exit 2; }
	mkdir -p data/cifar10-jpeg
	tar xzf $(IMAGES) -C data/cifar10-jpeg --wildcards 'train/*/00[0-5]?.jpg' 'test/*/00[0-1]?.jpg'
	touch $@

smoke: setup data/cifar10-jpeg/.unpacked
	@if [ -e $(RUNS)/cifar10_smoke/sweep.json ]; then $(BIN)/alphacl resume cifar10_smoke --storage $(RUNS); \
	else $(BIN)/alphacl sweep cifar10_smoke --storage $(RUNS); fi

# A study's records lie in results/evidence/STUDY/; those that are not there yet are not printed.
evidence: setup
	@for study in results/evidence/*/; do $(BIN)/python results/table.py --sweep $$study || exit $$?; done

constraints: $(VENV)/.cluster $(VENV)/.docs
	{ head -n 1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache *.egg-info
