# make demo          a Teletype in this terminal (ARGS="--fast --prompt 'THE TELETYPE IS'")
# make test          formatting, lint, types and the whole suite; TRAIN=0 leaves out torch and its tests
# make soak          the tests at the paper's pace: minutes to hours
# make thin          `pip install .` alone in its own virtual environment: packages, memory, one answer from a server
# make pi            the same on Debian for a Pi, 32 and 64 bit, emulated: needs root, apt, ten minutes and 2 GB
# make peers         the client against llama-cpp-python's and llama.cpp's servers: compiles them, half an hour the first time
# make clients       other people's clients against the server: openai in Python and Node.js, llm, litellm, langchain-openai
# make ray           replicas on Ray Serve on this machine: half a gigabyte to install, two minutes
# make clean         removes the virtual environment and all caches

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TRAIN  ?= 1
ARGS   ?=
PI     ?= armhf arm64
# The folder of the root file systems for `make pi`; PI_MIRROR=URL names a Debian mirror if apt knows none.
PI_ROOTS ?= $(HOME)/.cache/asr33-pi

# The folder of the compiled servers for `make peers`, and their version.
PEERS_HOME ?= $(HOME)/.cache/asr33-peers
LLAMA      := 0.3.36

# The folder of the clients for `make clients`, and their packages. npm comes from apt; without it the client of Node.js is skipped.
CLIENTS_HOME ?= $(HOME)/.cache/asr33-clients
CLIENTS      := openai llm litellm langchain-openai

# One stamp file for each set of packages: the second `make demo` installs nothing.
READY_RUN  := $(VENV)/ready-run
READY_TEST := $(VENV)/ready-test-$(TRAIN)
comma      := ,
EXTRAS     := cpu$(comma)test$(if $(filter 0,$(TRAIN)),,$(comma)train)

# The programs that tests run: peers of the driver and of the bridges, and for the live page a browser and a proxy. A test
# whose program is not installed is skipped.
PEERS       := socat ser2net picocom tio minicom chromium nginx ngircd inspircd mosquitto asciinema
PEERS_ABSENT = $(strip $(foreach one,$(PEERS),$(if $(shell PATH="$$PATH:/usr/sbin" command -v $(one)),,$(one))))

# Some images of containers set it; then each of some hundred processes of the tests compiles the program anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak thin pi peers clients npm ray programs clean

demo: $(READY_RUN)
	@$(BIN)/asr33 demo $(ARGS)

# Most tests wait for a process or a pty now and then: three at a time fill two cores. The types are checked beside them.
# Tests that measure real time run two at a time when nothing else does, and some of them alone.
WORKERS    ?= 3
WANTED     := not soak$(if $(filter 0,$(TRAIN)), and not train)
TYPED      := $(if $(filter 0,$(TRAIN)),-p daemon -p drivers -p model)
files_with  = $(shell grep -lE 'pytest\.mark\.$(1)\b' tests/test_*.py)

test: $(READY_TEST) programs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
ifeq ($(TRAIN),0)
	@echo "TRAIN=0: torch is not installed; training is neither type-checked nor tested"
endif
	@echo "$(BIN)/mypy $(TYPED) &"; nice $(BIN)/mypy $(TYPED) >$(VENV)/types 2>&1 & types=$$!; trap 'kill $$types' INT TERM; \
	  echo '$(BIN)/pytest -n $(WORKERS) -m "$(WANTED) and not pace and not alone"'; \
	  $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "$(WANTED) and not pace and not alone"; tests=$$?; \
	  wait $$types; types=$$?; cat $(VENV)/types; exit $$((tests | types))
	$(BIN)/pytest -n 2 --dist loadfile -m "$(WANTED) and pace and not alone" $(call files_with,pace)
	$(BIN)/pytest -m "$(WANTED) and alone" $(call files_with,alone)

soak: $(READY_TEST) programs
	$(BIN)/pytest -m soak

thin: $(READY_TEST)
	$(BIN)/pytest -m soak -s tests/test_client_thin_install.py

pi: $(READY_TEST)
	@$(BIN)/python tests/pi/prove.py --roots "$(PI_ROOTS)" $(PI)

# Ray needs half a gigabyte: it gets its own virtual environment.
ray: $(VENV)/ray/ready
	$(VENV)/ray/bin/pytest -p no:cacheprovider -m soak tests/test_server_ray_cluster.py

$(VENV)/ray/ready: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing asr33 with Ray ..."
	@$(BIN)/python -m venv $(VENV)/ray
	@$(VENV)/ray/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt \
	  -e '.[cpu,serve,ray]' pytest pytest-asyncio hypothesis
	@touch $@

# Both come from one source: the wheel contains llama.cpp, and its source archive contains llama.cpp's own server.
peers: $(READY_TEST) $(PEERS_HOME)/ready-python-$(LLAMA) $(PEERS_HOME)/ready-server-$(LLAMA)
	PEERS_HOME="$(PEERS_HOME)" $(BIN)/pytest -m soak tests/test_client_foreign_servers.py

$(PEERS_HOME)/ready-python-$(LLAMA):
	@command -v cmake >/dev/null || { echo "cmake is missing: apt-get install cmake g++"; exit 1; }
	@echo "Compiling llama-cpp-python ..."
	@$(PYTHON) -m venv "$(PEERS_HOME)/venv"
	@nice "$(PEERS_HOME)/venv/bin/pip" install --disable-pip-version-check -q 'llama-cpp-python[server]==$(LLAMA)'
	@touch $@

$(PEERS_HOME)/ready-server-$(LLAMA): $(PEERS_HOME)/ready-python-$(LLAMA)
	@echo "Compiling llama.cpp's own server ..."
	@rm -rf "$(PEERS_HOME)/source"; mkdir -p "$(PEERS_HOME)/source"
	@"$(PEERS_HOME)/venv/bin/pip" download --disable-pip-version-check -q --no-deps --no-binary :all: \
	  -d "$(PEERS_HOME)/source" 'llama-cpp-python==$(LLAMA)'
	@tar xzf "$(PEERS_HOME)"/source/*.tar.gz -C "$(PEERS_HOME)/source" --strip-components 1
	@nice cmake -S "$(PEERS_HOME)/source/vendor/llama.cpp" -B "$(PEERS_HOME)/llama" -DCMAKE_BUILD_TYPE=Release \
	  -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS="-w" -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
	  -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DGGML_OPENMP=OFF >/dev/null
	@nice cmake --build "$(PEERS_HOME)/llama" --target llama-server -j2 >/dev/null
	@rm -rf "$(PEERS_HOME)/source"
	@touch $@

clients: $(READY_TEST) npm $(CLIENTS_HOME)/ready-python
	@[ -e "$(CLIENTS_HOME)/node/node_modules/openai" ] || ! command -v npm >/dev/null || \
	  { echo "Installing the client of Node.js ..."; mkdir -p "$(CLIENTS_HOME)/node"; \
	    npm install --prefix "$(CLIENTS_HOME)/node" --no-audit --no-fund --silent openai || \
	    echo "npm could not install openai: its test is skipped"; }
	CLIENTS_HOME="$(CLIENTS_HOME)" $(BIN)/pytest -m soak -rs tests/test_server_foreign_clients.py

$(CLIENTS_HOME)/ready-python:
	@echo "Installing $(CLIENTS) ..."
	@$(PYTHON) -m venv "$(CLIENTS_HOME)/venv"
	@"$(CLIENTS_HOME)/venv/bin/pip" install --disable-pip-version-check -q $(CLIENTS)
	@touch $@

npm:
	@command -v npm >/dev/null && exit; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
	  { echo "npm is missing, so the client of Node.js is skipped: apt-get install npm"; exit 0; }; \
	echo "Installing npm ..."; export DEBIAN_FRONTEND=noninteractive; apt-get update -qq >/dev/null 2>&1; \
	apt-get install -qq --no-install-recommends npm >/dev/null 2>&1 || echo "apt-get could not install npm"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "asr33 needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
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

# The packages of ser2net, nginx, mosquitto and the IRC servers start services on this computer's ports; the tests need the programs only.
programs:
	@absent="$(PEERS_ABSENT)"; [ -z "$$absent" ] && exit; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
	  { echo "Not installed: $$absent; the tests that need them are skipped (apt-get install $$absent)"; exit 0; }; \
	echo "Installing $$absent ..."; export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq >/dev/null 2>&1; \
	for one in $$absent; do \
	  apt-get install -qq --no-install-recommends $$one >/dev/null 2>&1 || \
	    { echo "apt-get could not install $$one: the tests that need it are skipped"; continue; }; \
	  case $$one in ser2net|nginx|ngircd|inspircd|mosquitto) \
	    [ ! -d /run/systemd/system ] || systemctl -q disable --now $$one || true;; esac; \
	done

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
