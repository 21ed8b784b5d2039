# One command a task; `make setup` makes .venv, everything else uses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -q
NATIVE := setup.py CMakeLists.txt $(shell find csrc -type f)

.PHONY: setup demo test test-slow test-gpu check format lint types bench bench-gpu clean soak fuzz asan tsan neon

setup: $(STAMP)

# torch goes first and pinned, so that nothing that asks for it later fetches a CUDA build.
$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(PIP) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/flmr demo --out demo

test: setup
	$(BIN)/python -m pytest tests

test-slow: setup
	$(BIN)/python -m pytest tests -m slow

format: setup
	$(BIN)/ruff format .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

check: lint types test

bench: setup
	$(BIN)/python -m benchmarks.bench_ops

# On a machine with an NVIDIA card, in the environment that holds torch with CUDA: .venv has the processor's build of it.
GPU_PYTHON ?= python3
CARD_TESTS := tests/ops/test_cuda.py tests/ops/test_maxsim_torch.py tests/ops/test_assign_torch.py \
	tests/ops/test_resident.py tests/index/test_searcher.py tests/index/test_kmeans.py \
	tests/index/test_tensors.py tests/test_retriever.py
test-gpu:
	$(GPU_PYTHON) -m benchmarks.gpu --only checks,sanitizer
	$(GPU_PYTHON) -m pytest $(CARD_TESTS)

bench-gpu:
	$(GPU_PYTHON) -m benchmarks.gpu

# The long runs behind docs/reliability.md; one of them alone: make soak-kills.
SOAK := kills damage operations readers
kills := --count 1000
damage := --count 100000
operations := --count 100000
readers := --seconds 600

soak: $(SOAK:%=soak-%) soak-faults

.PHONY: $(SOAK:%=soak-%) soak-faults
$(SOAK:%=soak-%): soak-%: setup
	cd tests && ../$(BIN)/python -m reliability $* $($*)

soak-faults: setup
	$(BIN)/python -m pytest -m slow tests/index/test_crash.py tests/index/test_verify.py tests/index/test_model.py

# Instrumented builds: the native module beside a copy of the package, and the fuzzer of the kernels, in build/asan and
# build/tsan.  -P and PYTHONSAFEPATH keep the plain module of this folder from being found first.
comma := ,
UNDER = PYTHONSAFEPATH=1 PYTHONMALLOC=malloc OPENBLAS_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(1):$(CURDIR)/tests
ASAN = $(call UNDER,build/asan) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)"
TSAN = $(call UNDER,build/tsan) OMP_NUM_THREADS=1 TSAN_OPTIONS=exitcode=66 \
	LD_PRELOAD="$$(g++ -print-file-name=libtsan.so) $$(g++ -print-file-name=libstdc++.so)"
CMAKE = $(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
define build
	CXXFLAGS="$(3)" $(CMAKE) -S . -B build/$(1)/cmake -DFLMR_SANITIZE=$(2) -DFLMR_OUTPUT=$(CURDIR)/build/$(1)/flmr
	$(BIN)/cmake --build build/$(1)/cmake --target fuzz $(4)
	mkdir -p build/$(1)/flmr
	find build/$(1)/flmr -name '*.py' -delete
	tar --exclude='*.so' --exclude=__pycache__ --exclude=flmr/model/bundled -cf - flmr | tar -C build/$(1) -xf -
endef

# Each first proves that the sanitizer sees what it is there for.  The thread sanitizer's own runtime cannot start threads in
# the child of a fork ("dup thread with used id"): the test that does is left to the plain run and to asan.  Torch's threads
# come from an OpenMP library that it cannot see into; with one thread there is nothing to see.
asan: setup
	$(call build,asan,address$(comma)undefined$(comma)float-cast-overflow,-fno-sanitize-recover=all,_native)
	build/asan/cmake/fuzz --overrun 2>&1 | grep -q heap-buffer-overflow
	build/asan/cmake/fuzz --seconds 60
	$(ASAN) $(BIN)/python -m pytest tests/ops tests/index

tsan: setup
	$(call build,tsan,thread,,_native)
	build/tsan/cmake/fuzz --race 2>&1 | grep -q 'data race'
	build/tsan/cmake/fuzz --seconds 60 --callers 3
	$(TSAN) $(BIN)/python -m pytest tests/ops tests/index/test_concurrency.py tests/index/test_searcher.py \
		--deselect tests/ops/test_native.py::test_a_forked_child_may_use_the_kernels_that_its_parent_has_used

# Half of the time for the kernels, half for the readers of index files; then what the kernels' fuzzer reaches.
FUZZ_SECONDS ?= 3600
FUZZ_SEED ?= 0
fuzz: setup
	$(call build,asan,address$(comma)undefined$(comma)float-cast-overflow,-fno-sanitize-recover=all,_native)
	build/asan/cmake/fuzz --seconds $$(($(FUZZ_SECONDS) / 2)) --seed $(FUZZ_SEED)
	cd tests && $(ASAN) ../$(BIN)/python -m reliability hostile --seconds $$(($(FUZZ_SECONDS) / 2)) --seed $(FUZZ_SEED)
	$(call build,coverage,,--coverage,)
	find build/coverage -name '*.gcda' -delete
	build/coverage/cmake/fuzz --count 20000
	cd build/coverage/cmake && gcov -n -r -s $(CURDIR) $$(find . -path '*flmr_cpu*' -name '*.gcda') \
		| grep -A1 "^File 'csrc" | grep -v '^--' | paste - -

# The kernels for 64-bit Arm in an emulator: NEON against scalar code, and the digest of both against this processor's.
NEON_COUNT ?= 20000
CROSS := -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	-DCMAKE_EXE_LINKER_FLAGS=-static
neon: setup
ifeq ($(and $(shell which aarch64-linux-gnu-g++ 2>/dev/null),$(shell which qemu-aarch64 2>/dev/null)),)
	@echo "neon: skipped, nothing was tried: install g++-aarch64-linux-gnu and qemu-user (Debian's names)"
else
	$(CMAKE) -S . -B build/neon/arm $(CROSS)
	$(CMAKE) -S . -B build/neon/here
	$(BIN)/cmake --build build/neon/arm --target fuzz
	$(BIN)/cmake --build build/neon/here --target fuzz
	qemu-aarch64 build/neon/arm/fuzz --count $(NEON_COUNT) | tee build/neon/arm.json
	grep -q 'scalar neon' build/neon/arm.json
	build/neon/here/fuzz --count $(NEON_COUNT) > build/neon/here.json
	test "$$(grep digest build/neon/arm.json)" = "$$(grep digest build/neon/here.json)"
endif

clean:
	rm -rf $(VENV) build dist demo runs *.egg-info flmr/*.so
