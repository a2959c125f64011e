# Cajal service. `make demo` and `make test` need only Debian 12, make and git; `make help` lists the rest.
.DEFAULT_GOAL := all
BUILD ?= build
OPT ?= -O2 -g
WARN = -Wall -Wextra -Werror
# SAN=1: an AddressSanitizer and UndefinedBehaviorSanitizer build, in a folder of its own
ifdef SAN
BUILD := build-asan
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
# instrumented code keeps more in registers over setjmp: the plain build is the judge of that
WARN += -Wno-clobbered
endif
CPPFLAGS += -I. -D_GNU_SOURCE
CFLAGS += -std=gnu17 $(OPT) $(WARN) -MMD -MP -pthread
LDFLAGS += $(filter -fsanitize%,$(OPT)) -pthread
WORKER_CFLAGS = -fopenmp
# Kernels may use what the compiler can vectorise (square roots do not set errno then), but never reorder sums behind our back.
KERNEL_CFLAGS ?= $(if $(SAN),,-O3 -fno-math-errno)

sources = $(sort $(wildcard $(1)/*.c $(1)/*/*.c))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

# How an object is made, and how a program is linked: of its objects and archives, with the LIBS that its rule sets. Both are made again when
# what stands in $(BUILD)/flags changes.
define compile
@mkdir -p $(@D)
$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
endef
define link
@mkdir -p $(@D)
$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)
endef
FLAGS := $(CC) $(CPPFLAGS) $(CFLAGS) $(WORKER_CFLAGS) $(KERNEL_CFLAGS) $(LDFLAGS)
$(BUILD)/flags: always
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

SCHEMA := $(call objects,$(call sources,schema))
COMPILER := $(call objects,$(call sources,compiler))
WORKER := $(call objects,$(filter-out worker/main.c,$(call sources,worker)))
SERVER := $(call objects,$(filter-out server/main.c,$(call sources,server)))
CLIENT := $(call objects,$(wildcard client/lib/*.c))
CLI := $(call objects,$(wildcard client/cli/*.c))

PROGRAMS := $(BUILD)/cajald $(BUILD)/cajal-worker $(BUILD)/cajal
all: $(PROGRAMS)

$(BUILD)/libschema.a: $(SCHEMA) $(BUILD)/obj/build_id.o
$(BUILD)/libcompiler.a: $(COMPILER)
$(BUILD)/libworker.a: $(WORKER)
$(BUILD)/libserver.a: $(SERVER) $(BUILD)/obj/embedded.o
$(BUILD)/libclient.a: $(CLIENT)
$(BUILD)/%.a:
	@mkdir -p $(@D)
	rm -f $@ && $(AR) rcs $@ $^

LIBS_COMPILER = -lcjson -lsodium -lm
LIBS_WORKER = -lopenblas -fopenmp $(LIBS_COMPILER)
LIBS_SERVER = -lmicrohttpd -lsqlite3 -lz $(LIBS_COMPILER)
LIBS_CLIENT = -lcurl -lcjson -lm

$(BUILD)/cajald: LIBS = $(LIBS_SERVER)
$(BUILD)/cajald: $(BUILD)/obj/server/main.o $(BUILD)/libserver.a $(BUILD)/libcompiler.a $(BUILD)/libschema.a
$(BUILD)/cajal-worker: LIBS = $(LIBS_WORKER)
$(BUILD)/cajal-worker: $(BUILD)/obj/worker/main.o $(BUILD)/libworker.a $(BUILD)/libcompiler.a $(BUILD)/libschema.a
$(BUILD)/cajal: LIBS = $(LIBS_CLIENT)
$(BUILD)/cajal: $(CLI) $(BUILD)/libclient.a $(BUILD)/libschema.a

# The fingerprints of schema/protocol/build.h: of what decides what a program compiles to, and of all that daemon and workers must agree on.
files = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c $(d)/*.h $(d)/*.def $(d)/*/*.c $(d)/*/*.h $(d)/*/*.def)))
COMPILES := $(call files,schema compiler) $(wildcard worker/protocol/build_job.[ch] worker/protocol/verify.[ch])
AGREES := $(call files,schema compiler worker)
fingerprint = $$(cat $(1) | sha256sum | cut -c1-16)
$(BUILD)/gen/build_id.c: $(AGREES)
	@mkdir -p $(@D)
	echo "#include \"schema/protocol/build.h\"" >$@
	echo "const char build_compiler[] = \"$(call fingerprint,$(COMPILES))\";" >>$@
	echo "const uint64_t build_all = UINT64_C(0x$(call fingerprint,$(AGREES)));" >>$@

# Files of schema/ that the daemon carries inside.
$(BUILD)/gen/embedded.c: server/embed.sh schema/openapi.json $(sort $(wildcard schema/migrations/*.sql))
	@mkdir -p $(@D)
	sh server/embed.sh $(filter-out server/embed.sh,$^) > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(compile)
$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(compile)
$(BUILD)/obj/worker/%.o: CFLAGS += $(WORKER_CFLAGS)
$(BUILD)/obj/worker/kernels/%.o: CFLAGS += $(KERNEL_CFLAGS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# Tests: one cmocka program a file, in tests/unit, and in tests/http, where each starts daemons of its own from $(BUILD). tests/support/*.c and
# everything else is linked into all.
SUPPORT := $(call objects,$(wildcard tests/support/*.c))
UNITS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
HTTP_TESTS := $(patsubst tests/http/%.c,$(BUILD)/tests/%,$(wildcard tests/http/http_*.c))
$(UNITS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o
$(HTTP_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/http/%.o
$(UNITS) $(HTTP_TESTS): LIBS = -lcmocka $(LIBS_WORKER) $(LIBS_SERVER) $(LIBS_CLIENT)
$(UNITS) $(HTTP_TESTS): $(SUPPORT) $(BUILD)/libworker.a $(BUILD)/libserver.a $(BUILD)/libclient.a $(BUILD)/libcompiler.a $(BUILD)/libschema.a
# Makes allocations fail.
$(BUILD)/tests/test_faults: LDFLAGS += $(foreach f,malloc calloc realloc aligned_alloc strdup free,-Wl,--wrap=$(f))
units: $(UNITS)
http-tests: $(HTTP_TESTS) $(PROGRAMS)

# Fuzzing: a target a file, tests/fuzz/fuzz_*.c. The kept inputs are replayed by `make test`; new ones are looked for by `make fuzz`, with clang.
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(FUZZ:%=$(BUILD)/tests/replay_%)
FUZZERS := $(FUZZ:%=$(BUILD)/tests/fuzz_%)
$(REPLAYS): $(BUILD)/tests/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o
$(REPLAYS): $(BUILD)/obj/tests/fuzz/replay.o
$(FUZZERS): $(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
$(REPLAYS) $(FUZZERS): LIBS = $(LIBS_WORKER) -lz
$(REPLAYS) $(FUZZERS): $(call objects,tests/fuzz/programs.c server/data/npz.c server/data/inflate.c) $(BUILD)/libworker.a $(BUILD)/libcompiler.a $(BUILD)/libschema.a
replays: $(REPLAYS)
fuzzers: $(FUZZERS)
# seeds FOLDER < tests/conformance/accept.jsonl: seed inputs, after a change of the forms
SEEDS := $(BUILD)/tests/seeds
$(SEEDS): LIBS = $(LIBS_COMPILER)
$(SEEDS): $(call objects,tests/fuzz/seeds.c tests/fuzz/programs.c) $(BUILD)/libcompiler.a $(BUILD)/libschema.a
FUZZ_SECONDS ?= 60
# NULL + 0, which clang alone reports, is no error of ours (C2y defines it).
FUZZ_OPT = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined
fuzz:
	@$(MAKE) -s BUILD=build-fuzz CC=clang OPT='$(FUZZ_OPT)' KERNEL_CFLAGS= fuzzers
	@tests/fuzz/fuzz.sh build-fuzz $(FUZZ_SECONDS) $(FUZZ)

# A second reading of the language in Python, held against the vectors, against itself on random programs of version 2, and against the
# service on random programs of version 1
REFERENCE_SECONDS ?= 60
reference: all
	@tests/reference/vectors.py
	@tests/reference/generate2.py --seconds $(REFERENCE_SECONDS)
	@tests/support/with_daemon.sh $(BUILD) tests/reference/compare.py --seconds $(REFERENCE_SECONDS)

# Layers, losses, optimisers and schedules held against PyTorch (Debian's python3-torch), through the service
agree: all
	@/usr/bin/python3 -c 'import torch' 2>/dev/null || { echo 'make agree: needs PyTorch: apt-get install python3-torch'; exit 1; }
	@tests/support/with_daemon.sh $(BUILD) tests/torch/agree.py

# The paper's experiments, in a reduced form and whole (that in parts of MINUTES, if given): client/experiments/README.md
EXPERIMENTS ?= --lr 1e-3,1e-4 --steps 1875 --every 125 --rows 2048 --images 200,60000 --forget --out experiments-results
PAPER_RESULTS ?= client/experiments/results
PAPER ?= --paper --forget --out $(PAPER_RESULTS) $(if $(MINUTES),--minutes $(MINUTES))
experiments-deps: deps
	@command -v npm >/dev/null || deploy/install-deps.sh deploy/packages-experiments.txt
	@$(MAKE) -s -j$(JOBS) all
experiments: experiments-deps
	@tests/support/with_daemon.sh $(BUILD) client/experiments/experiments.py $(EXPERIMENTS)
paper: experiments-deps
	@tests/support/with_daemon.sh $(BUILD) client/experiments/experiments.py $(PAPER); code=$$?; \
	    client/experiments/report.py $(PAPER_RESULTS) --readme >/dev/null && exit $$code

# Bench: tests/bench/README.md
BENCH := $(addprefix $(BUILD)/bench/,bare load tiny recurrent train)
$(BENCH): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
$(BENCH): LIBS = $(LIBS_WORKER)
$(addprefix $(BUILD)/bench/,bare load): LIBS = -lmicrohttpd
$(addprefix $(BUILD)/bench/,bare load): $(BUILD)/obj/tests/bench/file.o
$(addprefix $(BUILD)/bench/,tiny recurrent): $(BUILD)/obj/tests/bench/peer.o
$(BUILD)/bench/train: $(BUILD)/libworker.a
$(addprefix $(BUILD)/bench/,tiny recurrent train): $(BUILD)/libcompiler.a
$(BENCH): $(BUILD)/libschema.a
bench-programs: $(BENCH)

# All that is linked; after the rules above, which say of what.
$(PROGRAMS) $(UNITS) $(HTTP_TESTS) $(REPLAYS) $(FUZZERS) $(SEEDS) $(BENCH): $(BUILD)/flags
	$(link)

# The targets for people first see to the packages: on a bare Debian there is no compiler yet.
deps:
	@deploy/install-deps.sh
JOBS := $(shell nproc)
demo: deps
	@$(MAKE) -s -j$(JOBS) all
	@tests/support/with_daemon.sh $(BUILD) client/demo.sh
run: deps
	@$(MAKE) -s -j$(JOBS) all
	$(BUILD)/cajald
test-deps: deps
	@deploy/install-deps.sh deploy/packages-test.txt
test: test-deps
	@$(MAKE) -s -j$(JOBS) all units http-tests replays trust-programs
	@tests/run.sh $(BUILD) units replay http conformance cli smoke proxies trust
# The same tests once more on the SAN=1 build.
test-san: test-deps
	@$(MAKE) -s -j$(JOBS) SAN=1 BUILD=build-asan all units http-tests replays
	@tests/run.sh build-asan units replay http conformance cli smoke proxies
# Faults put into the running service, and what they cost; tests/README.md. TRUST: rows, all else
trust: test-deps
	@$(MAKE) -s -j$(JOBS) all trust-programs
	@/usr/bin/python3 -B tests/trust/trust.py $(BUILD) $(TRUST)
# What a row loads into a daemon: build/trust/NAME.so of tests/trust/NAME.c
SHIMS := $(patsubst tests/trust/%.c,$(BUILD)/trust/%.so,$(wildcard tests/trust/*.c))
$(SHIMS): $(BUILD)/trust/%.so: tests/trust/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=gnu17 -O2 -g $(WARN) -shared -fPIC -pthread -o $@ $<
trust-programs: $(BUILD)/bench/load $(SHIMS)
check: deps
	@$(MAKE) -s -j$(JOBS) all
	@tests/check.sh $(BUILD)

bench: deps
	@$(MAKE) -s -j$(JOBS) all bench-programs
	@python3 -B tests/bench/bench.py $(BUILD)

# How cost grows with size: tests/bench/README.md. GROWTH: lines, --quick
bench-growth: deps
	@$(MAKE) -s -j$(JOBS) all
	@python3 -B tests/bench/growth.py $(BUILD) $(GROWTH)

PREFIX ?= /usr/local
BINDIR = $(DESTDIR)$(PREFIX)/bin
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/cajal
LIBDIR = $(DESTDIR)$(PREFIX)/lib
install: all
	install -d $(BINDIR) $(DOCDIR) $(LIBDIR)/systemd/system $(LIBDIR)/sysusers.d $(LIBDIR)/tmpfiles.d
	install -m 755 $(PROGRAMS) $(BINDIR)
	install -m 644 README.md schema/openapi.json deploy/nginx.conf $(DOCDIR)
	sed -e 's|@BIN@|$(PREFIX)/bin|' -e 's|@DOC@|$(PREFIX)/share/doc/cajal|' deploy/cajald.service >$(LIBDIR)/systemd/system/cajald.service
	install -m 644 deploy/cajal.sysusers $(LIBDIR)/sysusers.d/cajal.conf
	install -m 644 deploy/cajal.tmpfiles $(LIBDIR)/tmpfiles.d/cajal.conf
clean:
	rm -rf build build-asan build-fuzz

help:
	@echo 'make demo      build everything, start a daemon and show what it does'
	@echo 'make test      build everything and run all tests'
	@echo 'make run       build, and run the daemon on 127.0.0.1:8420 with data in ./cajal-data'
	@echo 'make all       build only: cajald, cajal-worker, cajal'
	@echo 'make test-san  all tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make trust     faults put into the running service (kills, full disks, damage, floods), counted: what was lost, what was wrong'
	@echo 'make fuzz      look for inputs that break the readers, FUZZ_SECONDS (60) each; needs clang'
	@echo 'make reference a second reading of the language against its vectors, itself and the service, on random programs; REFERENCE_SECONDS (60)'
	@echo 'make agree     hold training against PyTorch; needs python3-torch'
	@echo 'make experiments  the paper'"'"'s models trained on MNIST, reduced, into ./experiments-results; under an hour'
	@echo 'make paper     the whole of it, a night or more; MINUTES= for a part, it goes on where it ended'
	@echo 'make check     the rules of the house: includes, links, sizes, OpenAPI, warnings of both compilers'
	@echo 'make bench     a few minutes: a table of what the service costs beside the libraries under it'
	@echo 'make bench-growth  how cost grows with size, an exponent a line; GROWTH="--quick" for some minutes less'
	@echo 'make deps      install the Debian packages that are missing'
	@echo 'make install   DESTDIR= PREFIX=/usr/local: programs, systemd unit, docs'

.PHONY: always all bench-growth trust trust-programs test-deps units http-tests replays fuzzers fuzz reference agree experiments experiments-deps paper bench bench-programs deps demo run test test-san check install clean help
.SECONDARY:
