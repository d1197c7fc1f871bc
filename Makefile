PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WEB := stream/audio_avif_stream/web

.PHONY: demo test test-quick check docs bench impair soak fuzz web clean

# One stamp for each set of dependencies; they are installed again when pyproject.toml changes.
$(VENV)/.installed-demo: EXTRA = plot
$(VENV)/.installed-test: EXTRA = test
$(VENV)/.installed-docs: EXTRA = docs
$(VENV)/.installed-demo $(VENV)/.installed-test $(VENV)/.installed-docs: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("audio-avif needs Python 3.11 or later; name one with make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing audio-avif and what make $(patsubst $(VENV)/.installed-%,%,$@) needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRA)]'
	@touch $@

demo: $(VENV)/.installed-demo
	@sh tools/install-system-packages.sh demo
	@$(BIN)/python -m audio_avif_tools.demo $(if $(MIC),--mic) $(if $(QUALITY),--quality $(QUALITY))

# Workers share the cores: threads of one that wait for each other would cost the others time.
# Numba (of ViSQOL) would also give PyTorch as many threads in the same process: 20 times slower on busy cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
# Tests start hundreds of programs: each would compile its modules again if none were kept.
TESTING := $(ONE_THREAD) PYTHONDONTWRITEBYTECODE=

# Quick tests first; those that wait in real time wait beside each other, in more workers than cores.
test: $(VENV)/.installed-test
	@sh tools/install-system-packages.sh test
	@$(TESTING) $(BIN)/python -m pytest -n $(or $(JOBS),4) --dist loadfile --no-loadscope-reorder $(or $(PYTEST),--cov)

# What a developer runs all day: the tests that wait for nothing, in under a minute.
test-quick: $(VENV)/.installed-test
	@$(TESTING) $(BIN)/python -m pytest -q -n auto -m "not slow and not device" $(or $(PYTEST),tests/core tests/tools)

# All that can be said of the code without running it.
check: $(VENV)/.installed-test $(WEB)/node_modules/.installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m codespell_lib .
	$(BIN)/python -m pytest -q tests/core/test_imports.py
	cd $(WEB) && npm run --silent check && npm run --silent check-built
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m mypy

# The documentation as a site in site/; a broken link is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-test
	@sh tools/install-system-packages.sh bench
	@$(ONE_THREAD) $(BIN)/python -m audio_avif_tools.bench.command $(if $(CORPUS),--corpus $(CORPUS)) $(if $(ONLY),--only $(ONLY))

impair: $(VENV)/.installed-test
	@sh tools/install-system-packages.sh card
	@$(ONE_THREAD) $(BIN)/python -m audio_avif_tools.network.impair $(if $(CORPUS),--corpus $(CORPUS)) $(if $(ONLY),--only $(ONLY)) $(if $(FOR),--seconds $(FOR))

soak: $(VENV)/.installed-test
	@sh tools/install-system-packages.sh card
	@$(ONE_THREAD) $(BIN)/python -m audio_avif_tools.network.$(if $(CALL),call_soak,soak) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(VENV)/.installed-test
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(if $(ONLY),--only $(ONLY)) $(if $(INPUTS),--inputs $(INPUTS))

# The page in $(WEB)/dist, which comes along.
web: $(WEB)/node_modules/.installed
	cd $(WEB) && npm run build

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "the page needs Node.js 20 or later, with npm"; exit 1; }
	@echo "installing what the page is built with ..."
	@cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

clean:
	rm -rf $(VENV) build site *.egg-info demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
