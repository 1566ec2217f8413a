# make demo          a Teletype in this terminal (ARGS="--fast --prompt 'THE TELETYPE IS'")
# make test          formatting, lint, types and the whole suite; TRAIN=0 leaves torch and its tests out
# make soak          the same at the paper's own pace: minutes to hours
# make thin          `pip install .` alone in a venv of its own: what comes, what runs, how much memory it takes
# make pi            the same in a Debian of a Pi, 32 and 64 bit, under emulation: as root, with apt; ten minutes and 2 GB
# make clean         the virtual environment and what else was made here

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TRAIN  ?= 1
ARGS   ?=
PI     ?= armhf arm64
# Where the roots are kept that `make pi` makes; PI_MIRROR=URL names a Debian where apt here knows none.
PI_ROOTS ?= $(HOME)/.cache/asr33-pi

# One stamp per set of packages: the second start of the demo does nothing but start.
READY_RUN  := $(VENV)/ready-run
READY_TEST := $(VENV)/ready-test-$(TRAIN)
comma      := ,
EXTRAS     := cpu$(comma)test$(if $(filter 0,$(TRAIN)),,$(comma)train)

# Programs of others that tests/test_peers.py tries the line against; a test whose program is absent is skipped.
PEERS       := socat ser2net picocom tio minicom
PEERS_ABSENT = $(strip $(foreach one,$(PEERS),$(if $(shell PATH="$$PATH:/usr/sbin" command -v $(one)),,$(one))))

.PHONY: demo test soak thin pi programs clean

demo: $(READY_RUN)
	@$(BIN)/asr33 demo $(ARGS)

test: $(READY_TEST) programs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
ifeq ($(TRAIN),0)
	@echo "TRAIN=0: torch is not installed; training is neither type-checked nor tested"
	$(BIN)/mypy -p daemon -p drivers -p model
	$(BIN)/pytest -n 2 --dist loadfile -m "not soak and not pace and not train"
	$(BIN)/pytest -m "pace and not soak and not train"
else
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile -m "not soak and not pace"
	$(BIN)/pytest -m "pace and not soak"
endif

soak: $(READY_TEST) programs
	$(BIN)/pytest -m soak

thin: $(READY_TEST)
	$(BIN)/pytest -m soak -s tests/test_thin.py

pi: $(READY_TEST)
	@$(BIN)/python tests/pi/prove.py --roots "$(PI_ROOTS)" $(PI)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "asr33 wants Python 3.11 or later; say which: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

$(READY_RUN): $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing asr33 and its engine ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[cpu]'
	@touch $@

$(READY_TEST): $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing asr33, its engine and its tests$(if $(filter 0,$(TRAIN)),,$(comma) and torch) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@ $(READY_RUN)

# ser2net, where it is new here, is for the tests alone: its package would have it serve this computer's ports.
programs:
	@absent="$(PEERS_ABSENT)"; [ -z "$$absent" ] && exit; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
	  { echo "Not installed: $$absent; tests that want them are skipped (apt-get install $$absent)"; exit 0; }; \
	echo "Installing $$absent ..."; export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq >/dev/null 2>&1; \
	for one in $$absent; do \
	  apt-get install -qq --no-install-recommends $$one >/dev/null 2>&1 || \
	    { echo "apt-get could not install $$one: tests that want it are skipped"; continue; }; \
	  [ $$one != ser2net ] || [ ! -d /run/systemd/system ] || systemctl -q disable --now ser2net || true; \
	done

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
