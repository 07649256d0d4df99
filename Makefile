# `make` alone explains what there is.
.DEFAULT_GOAL := help
.PHONY: help lab test env update bundle lint bench labs drawings lessons times sheet site soak test-all clean

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
COMPLETE := import ctypes, ssl, sys, sysconfig as built; \
	sys.exit(sys.maxsize < 2 ** 32 or bool(built.get_config_var("Py_GIL_DISABLED")))
# Where `make bundle` put the packages: bundle.tar, its folder, or the address of a server in the room.
BUNDLE ?= $(firstword $(wildcard bundle/redis-streams-bundle.json bundle.tar ../redis-streams-bundle.json))
USE_BUNDLE := helpers/course/bundle/use.py
FITS := $(if $(BUNDLE),&& $$p -I $(USE_BUNDLE) --fits "$(BUNDLE)" 2>/dev/null)
FIND_PYTHON = for p in $(PYTHON) $(PYTHONS); do \
	command -v $$p >/dev/null 2>&1 && $$p -c '$(NEW_ENOUGH)' 2>/dev/null \
	&& $$p -c '$(COMPLETE)' 2>/dev/null $1 && echo $$p && break; done
# What would put other code in place of the course's, or keep pip from installing here.
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONINSPECT PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
unexport PIP_PYTHON PIP_NO_BUILD_ISOLATION PIP_NO_BINARY PIP_PLATFORM PIP_PYTHON_VERSION PIP_EDITABLE
unexport PIP_REQUIREMENT PIP_REPORT
# As variables, since they count more than a pip.conf.
export PIP_DRY_RUN := 0
export PIP_NO_DEPS := 0
export PIP_REQUIRE_HASHES := 0
# Words for make, and no variables that a shell happens to have.
VENV := .venv
ARGS :=
BIN := $(VENV)/bin
PINS := pyproject.toml constraints.txt
# A learner's pip.conf may ask for their own site-packages; its index and its proxy hold.
PLAINLY := --no-user
AWAY := ^(global|install)\.(target|prefix|root|python|platform|python-version)=
PIP := PYTHONWARNINGS= SSLKEYLOGFILE= $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PLAINLY)

# An environment that was moved or copied, or whose Python is gone, is made again.
ifneq ($(wildcard $(VENV)/.lab),)
STATE := $(shell $(BIN)/python -I helpers/course/whole.py >/dev/null 2>&1; echo $$?)
ifneq ($(STATE),0)
$(shell rm -f $(VENV)/.lab $(VENV)/.test $(VENV)/.site)
ifneq ($(filter 3 126 127,$(STATE)),)
$(shell rm -f $(BIN)/python)
endif
endif
endif

help:  ## explain these targets
	@echo "Redis Streams, hands on. What make can do:"
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile | expand -t 18

lab: $(VENV)/.lab  ## open the course in JupyterLab, with a Redis server behind it
	@$(BIN)/course lab $(ARGS)

test: $(VENV)/.test  ## check style and run all tests, on every kind of server that this machine has
	@$(BIN)/python -m tests.suite $(ARGS)

env: $(VENV)/.lab  ## only set up the environment, in .venv
	@echo "Ready. Use it with: source $(BIN)/activate"

# A copy of the code that ends what a killed update began: the package itself may be half replaced.
UNFINISHED := $(or $(COURSE_HOME),.course)/updating/finish.py

update:  ## get the newest version of the course, and keep your answers; git pull may refuse to
	@if [ -f "$(UNFINISHED)" ]; then $(BIN)/python -I "$(UNFINISHED)"; fi
	@[ -x $(BIN)/course ] || $(MAKE) --no-print-directory $(VENV)/.lab
	@$(BIN)/course update $(ARGS)

bundle: $(VENV)/.lab  ## gather all packages for a room without a network, as bundle.tar; ARGS=--help
	@$(BIN)/python -m helpers.course.bundle.gather $(ARGS)

lint: $(VENV)/.test  ## check style, types, and who imports whom
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }

bench: $(VENV)/.lab  ## measure how fast everything goes on this machine; ARGS=--quick is shorter
	@$(BIN)/course bench $(ARGS)

labs: $(VENV)/.test  ## for authors: write labs/ again, from solutions/, and number the checks' hints
	@$(BIN)/python -m helpers.course.authoring.labs
	@$(BIN)/python -m helpers.course.authoring.mistakes
	@$(BIN)/python -m tests.checks.telling

drawings: $(VENV)/.lab  ## for authors: write notebooks/drawings/, and print their lines for lessons
	@$(BIN)/python -m helpers.views.drawings

lessons: $(VENV)/.test labs  ## for authors: format and run lessons and solutions, keep their outputs
	@$(BIN)/ruff check --quiet --fix notebooks solutions && $(BIN)/ruff format --quiet notebooks solutions
	@$(BIN)/python -m helpers.course.authoring.rerun $(ARGS)

times: $(VENV)/.test  ## for authors: state how long everything takes; ARGS=--check lists what is lacking
	@$(BIN)/python -m helpers.course.authoring.times $(ARGS)

sheet: $(VENV)/.test  ## write cheatsheet.html, two sides to print, and handout.html, a page for each attendee
	@$(BIN)/python -m helpers.course.authoring.sheet

site: $(VENV)/.site  ## build the course as a site, in build/site; ARGS=--links lists the links that lead outside
	@PYTHONUTF8=1 $(BIN)/python -m helpers.course.authoring.site $(ARGS)

# ARGS may name soaks and say more: ARGS="groups --seed 7 --faults 50 --server redis8", ARGS=--help.
soak: $(VENV)/.test  ## for authors: kill and pause workers, servers, a cluster and a class board, for 40 minutes
	@$(BIN)/python -m tests.soaks $(ARGS)

test-all:  ## run everything on every server, with all answers to labs, on every Python from 3.11 up
	@for p in python3.11 python3.12 python3.13 python3.14; do \
	  if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
	    echo "=== $$p"; $(MAKE) --no-print-directory test PYTHON=$$p VENV=.venv-$$p \
	      ARGS="--everything --all-answers $(ARGS)" || exit 1; \
	  else echo "=== $$p is not on this machine: skipped"; fi; done

clean:  ## end the server and remove the environments; lessons, labs and data stay
	@if [ -x $(BIN)/course ]; then $(BIN)/course server stop; fi
	@rm -rf .venv .venv-python3.* build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@p=$$($(call FIND_PYTHON,$(FITS))); [ -n "$$p" ] || p=$$($(call FIND_PYTHON)); \
	if [ -z "$$p" ]; then \
	  for p in $(PYTHON) $(PYTHONS); do if $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then \
	    echo "$$(command -v $$p) lacks ssl or ctypes, or is a 32-bit or free-threaded build: install another Python, then run make again."; exit 1; fi; done; \
	  echo "This course needs Python 3.11 or newer, and there is none on PATH: install it, then run make again."; exit 1; fi; \
	case "$$PWD" in *:*) \
	  echo "Python makes no environment where the path has a colon, as $$PWD has: move the course to another folder, then run make again."; exit 1;; \
	  *\$$*|*[\"\`\\]*\ *|*\ *[\"\`\\]*) \
	  printf '%s\n' "What pip installs does not run where the path has a \$$, or a space with a quote or backslash, as $$PWD has: move the course to another folder, then run make again."; exit 1;; esac; \
	echo "Setting up $(VENV) with $$($$p --version); the first time takes a minute or two …"; \
	said=$$($$p -m venv --clear $(VENV) 2>&1) || { rm -rf $(VENV); \
	  case "$$said" in ""|*ensurepip*|*"No module named"*) \
	    echo "$$p has no venv module: install it (Debian and Ubuntu: the package python3-venv), then run make again.";; \
	    *) echo "$$p could not make $(VENV): $$said";; esac; exit 1; }

$(VENV)/.lab: $(PINS) | $(BIN)/python
	@away=$$($(BIN)/python -m pip config list 2>/dev/null | grep -E '$(AWAY)' | tr '\n' ' '); \
	if [ -n "$$away" ]; then echo "Your pip.conf has $${away% }, so pip would install elsewhere or for another system: take that out, then run make again."; exit 1; fi
	@from=; if [ -z "$(BUNDLE)" ]; then :; \
	elif $(BIN)/python -I $(USE_BUNDLE) "$(BUNDLE)" $(VENV)/wheels; then \
	  from="--no-index --find-links=$(VENV)/wheels"; \
	elif [ "$(origin BUNDLE)" = file ]; then echo "So the packages come from the network."; \
	else exit 1; fi; \
	$(PIP) $$from -e . || { case "$$PIP_NO_INDEX$$from" in ""|0) ;; 1|[Tt]*|[Yy]*|[Oo]n) \
	  echo "PIP_NO_INDEX is set, so pip looked for packages nowhere: unset it, then run make again.";; esac; exit 1; }
	@rm -rf $(VENV)/wheels
	@touch $@

$(VENV)/.site: $(PINS) | $(BIN)/python
	@$(PIP) -e '.[site]'
	@touch $(VENV)/.lab $@

$(VENV)/.test: $(PINS) | $(BIN)/python
	@$(PIP) -e '.[test,site]'
	@touch $(VENV)/.lab $(VENV)/.site $@
