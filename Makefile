# make demo    run the default model on a real clip (CLIP=path for your own); writes demo/overlay.mp4, demo/contact-sheet.png
#              and demo/report.json; the clip, a drive of 10 s, is fetched once into build/demo (88 MB)
# make picture   the README's picture, docs/overlay.jpg, from that drive
# make test    install what the tests need and run them, those of the GPU on an emulated driver
# make gpu     all checks that need an NVIDIA GPU, in under eight minutes; writes docs/results/ (NO_VENV=1: with
#              PYTHON as it is; PART=1, then PART=2: in two runs)
# make test-system  the long tests: every network with its file and its engine, servers, browsers (some minutes)
# make lint    format, lint and type checks; workflows, templates, containers, citation (make lint-files)
# make docs    build the pages of docs/ into build/site, every warning an error
# make bench   measure the stages beside what a user would otherwise write; writes docs/bench/ and the README's figures
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIP ?=
# --complete: a test that lacks a program of the system fails instead of being skipped.
PYTEST_FLAGS ?=
BENCH_CLIP ?= $(wildcard ../shared/data/video/highway_960x540.mp4)
LOOK := --visualize overlay,contour --legend
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: demo picture test gpu test-zoo test-system lint lint-files docs bench clean
.DELETE_ON_ERROR:

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }

# One stamp per set of packages: the second run of a target takes seconds.
$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing rtseg into $(VENV) (the first time takes a minute or two) ..."
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing rtseg and what its tests need into $(VENV) (the first time takes a few minutes) ..."
	$(PIP) -e '.[dev,demo]'
	@touch $@

# What the site is built with reads the source and imports nothing of it.
$(VENV)/docs.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	@touch $@

# The GPU tests run on an emulated driver, with PyCUDA itself.
$(VENV)/gpu.stamp: $(VENV)/dev.stamp tools/install_pycuda.py
	$(BIN)/python tools/install_pycuda.py --if-possible
	@touch $@

# Two packages of ROS messages that PyPI does not have.
$(VENV)/ros.stamp: $(VENV)/dev.stamp tools/build_ros_messages.py rtseg/messages/records.py
	$(BIN)/python tools/build_ros_messages.py --if-possible
	@touch $@

demo: $(VENV)/demo.stamp
	@mkdir -p demo
	@clip='$(CLIP)'; [ -n "$$clip" ] || clip=$$($(BIN)/python tools/demo_clip.py); \
	$(BIN)/rtseg run "$$clip" demo/overlay.mp4 $(LOOK) --hud --report demo/report.json && \
	$(BIN)/python tools/contact_sheet.py demo/overlay.mp4 demo/contact-sheet.png

# The frame 5 s into the drive, without the HUD: its figures are those of one machine at one time.
picture: $(VENV)/demo.stamp
	@mkdir -p build/picture
	@clip=$$($(BIN)/python tools/demo_clip.py) && \
	$(BIN)/rtseg run "$$clip" build/picture/%06d.jpg $(LOOK) --quality 88 --limit 126 --report none && \
	cp build/picture/000125.jpg docs/overlay.jpg

test: $(VENV)/gpu.stamp $(VENV)/ros.stamp
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow and not gpu and not soak"
	$(BIN)/python -m pytest $(PYTEST_FLAGS) --gpu emulated -m "gpu and not slow"

gpu: $(if $(NO_VENV),,$(VENV)/gpu.stamp)
	$(if $(NO_VENV),$(PYTHON),$(BIN)/python) tools/gpu_check.py $(if $(PART),--part $(PART))

test-system: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "slow and not soak" --durations=10

# The name of 0.1.
test-zoo: test-system

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32
	$(MAKE) lint-files

lint-files: $(VENV)/dev.stamp
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.citation-file-format CITATION.cff
	$(if $(filter x86_64,$(shell uname -m)),$(BIN)/hadolint containers/*.Dockerfile,@echo "no hadolint for this machine" >&2)

# The variable keeps the theme from advertising its successor in the log.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "built build/site/index.html"

bench: $(VENV)/dev.stamp
	@clip='$(BENCH_CLIP)'; [ -n "$$clip" ] || clip=$$($(BIN)/python tools/demo_clip.py --installed); \
	$(BIN)/python tools/bench_kernels.py --clip "$$clip" --model unet-fast0-camvid --out docs/bench/kernels.json && \
	$(BIN)/python tools/bench_pipeline.py --clip "$$clip" --out docs/bench/pipeline.json && \
	$(BIN)/python tools/update_readme.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
