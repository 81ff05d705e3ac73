# make            build the programs into build/release/
# make unit       unit, fault and corpus tests of this VARIANT
# make lint       includes, clang-tidy, cppcheck; make check: all that must be green
# make fuzz       libFuzzer; make bench, bench-gates, bench-faults: ratios, error rates; make install
# make VARIANT=asan|tsan ...   the same with sanitizers, in build/asan/ or build/tsan/
VARIANT ?= release
CC      ?= gcc
B       := build/$(VARIANT)
VERSION := 0.1.0

DEVPKGS := jansson libsodium libzstd libcrypto libcurl
PKGS    := libmicrohttpd sqlite3 jansson libsodium libzstd zlib libcrypto libcurl
WARN    := -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wwrite-strings -Wcast-qual \
           -Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough
IS_GCC  := $(shell $(CC) --version | grep -c 'Free Software')
ifneq ($(IS_GCC),0)
WARN    += -Wlogical-op -Wduplicated-cond -Wjump-misses-init -Wnull-dereference
HARDEN_GCC := -ftrivial-auto-var-init=zero
endif
ifdef WERROR
WARN    += -Werror
endif
HARDEN  := -fstack-protector-strong -fstack-clash-protection -fno-strict-overflow -fno-common $(HARDEN_GCC)
LDHARD  := -Wl,-z,relro,-z,now,-z,noexecstack

ifeq ($(VARIANT),asan)
OPT     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else ifeq ($(VARIANT),tsan)
OPT     := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
else
OPT     := -O2 -g -D_FORTIFY_SOURCE=3
endif

CFLAGS_ALL := -std=gnu17 -D_GNU_SOURCE -fPIE -pthread $(WARN) $(HARDEN) $(OPT) -I. -I$(B)/gen \
              -DFLOTILLA_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LIBS       := $(shell pkg-config --libs $(PKGS)) -lm -pthread
LDALL      := -pie $(LDHARD) $(filter -fsanitize%,$(OPT)) $(LDFLAGS)

ROOMS   := base store manifest telemetry rollout server sdk cli
SRC     := $(wildcard $(ROOMS:=/*.c))
MAINS   := server/main.c cli/main.c sdk/example.c store/example.c cli/synth_main.c
OBJ     := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS),$(SRC))) $(B)/gen/schema_sql.o
LIB     := $(B)/libflotilla-all.a
# What apps and tools link: the SDK, and the part of the store that needs no database.
DEVLIB  := $(B)/libflotilla.a
DEVOBJ  := $(filter $(addprefix $(B)/,$(addsuffix /%,base store manifest telemetry sdk)),$(OBJ))
DEVHEAD := $(wildcard base/*.h store/*.h) sdk/flotilla.h
UNIT    := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
FAULT   := $(patsubst tests/fault/%.c,$(B)/tests/%,$(wildcard tests/fault/fault_*.c))
REPLAY  := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/replay_%,$(wildcard tests/fuzz/fuzz_*.c))
SUPPORT := $(patsubst %.c,$(B)/%.o,$(filter-out tests/support/fault.c,$(wildcard tests/support/*.c)))
TESTLIB := $(B)/libtests.a
PREFIX  ?= /usr/local

PROGRAMS := $(foreach p,flotillad:server/main.c flotilla:cli/main.c \
              flotilla-example:sdk/example.c flotilla-synth:cli/synth_main.c \
              flotilla-store-example:store/example.c,\
              $(if $(wildcard $(lastword $(subst :, ,$(p)))),$(B)/$(firstword $(subst :, ,$(p)))))

all: $(PROGRAMS) $(DEVLIB)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# Loops over numbers, which become vector instructions.
ifeq ($(filter asan tsan,$(VARIANT)),)
NUMBERS := alone diff expect lift numbers planes tokens
$(NUMBERS:%=$(B)/store/%.o): CFLAGS_ALL += -O3
endif

# The document that the daemon tells of itself is part of it.
$(B)/server/api_status.o: schema/openapi.yaml

# Migrations become one C table, in the order of their numbers.
$(B)/gen/schema_sql.c: scripts/embed_sql.sh $(wildcard schema/*.sql)
	@mkdir -p $(@D)
	sh scripts/embed_sql.sh schema > $@.tmp && mv $@.tmp $@
$(B)/gen/schema_sql.o: $(B)/gen/schema_sql.c
	$(CC) $(CFLAGS_ALL) -c $< -o $@

$(LIB): $(OBJ)
	@rm -f $@
	ar rcs $@ $^

$(DEVLIB): $(DEVOBJ)
	@rm -f $@
	ar rcs $@ $^

# A library, so that a test links only what it uses of it.
$(TESTLIB): $(SUPPORT)
	@rm -f $@
	ar rcs $@ $^

$(B)/flotillad: $(B)/server/main.o $(LIB)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
$(B)/flotilla: $(B)/cli/main.o $(LIB)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
$(B)/flotilla-example: $(B)/sdk/example.o $(LIB)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
$(B)/flotilla-store-example: $(B)/store/example.o $(DEVLIB)
	$(CC) $(LDALL) $^ $(shell pkg-config --libs $(DEVPKGS)) -lm -pthread -o $@
$(B)/flotilla-synth: $(B)/cli/synth_main.o $(LIB)
	$(CC) $(LDALL) $^ $(LIBS) -o $@

$(B)/tests/%: $(B)/tests/unit/%.o $(TESTLIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(shell pkg-config --libs check) $(LIBS) -o $@
$(B)/tests/fault_%: $(B)/tests/fault/fault_%.o $(B)/tests/support/fault.o $(LIB) tests/fault/wrap.options
	@mkdir -p $(@D)
	$(CC) $(LDALL) @tests/fault/wrap.options $(filter %.o %.a,$^) $(shell pkg-config --libs check) $(LIBS) -o $@
$(B)/tests/gate_vectors: $(B)/tests/gate_vectors.o $(TESTLIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# Where others look for it, whatever the variant.
build/tests/gate_vectors: $(B)/tests/gate_vectors
	@mkdir -p $(@D)
	cp -f $< $@
$(B)/tests/kill_loop $(B)/tests/count_proxy: $(B)/tests/%: $(B)/tests/system/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# What the attack suite plays, who serves it, and our client of it.
$(B)/tests/attack_%: $(B)/tests/attack/%.o $(TESTLIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
$(B)/tests/bench_%: $(B)/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# The gates' error rates and speed, by simulation.
GATESIM := $(patsubst %.c,$(B)/%.o,$(wildcard tests/bench/gates*.c))
$(B)/tests/bench_gates: $(GATESIM) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# A parser's corpus through its fuzz target, without a fuzzing engine: any compiler, any sanitizer.
$(B)/tests/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(TESTLIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# make fuzz TARGET=tuf SECONDS=60: libFuzzer with clang, ASan and UBSan; finds go to build/fuzz/.
fuzz:
	sh scripts/fuzz.sh $(or $(TARGET),all) $(or $(SECONDS),60)

ATTACK  := $(patsubst tests/attack/%.c,$(B)/tests/attack_%,$(wildcard tests/attack/*.c))
# Benches too, which no test runs: or what they call changes, and they no longer build.
BENCH   := $(B)/tests/bench_gates \
	$(patsubst tests/bench/%.c,$(B)/tests/bench_%,$(filter-out tests/bench/gates%,$(wildcard tests/bench/*.c)))
tests: $(UNIT) $(FAULT) $(REPLAY) $(ATTACK) $(BENCH) build/tests/gate_vectors $(B)/tests/kill_loop \
	$(B)/tests/count_proxy
unit: tests
	sh scripts/run_unit.sh $(UNIT) $(FAULT)
	sh scripts/run_replay.sh $(REPLAY)
	$(B)/tests/gate_vectors schema/vectors/gates.json

# Everything that must be green, on a machine that has or gets what it needs.
check:
	sh scripts/check.sh

# Ratios against peers in the same run; writes build/bench/report.md and .json.
bench:
	sh tests/bench/run.sh
	sh tests/bench/sizes.sh

# The gates' error rates, speed and cost against their goals: about 15 minutes of processor time on two
# threads; QUICK=1: a smoke run.
bench-gates: $(B)/tests/bench_gates
	$(B)/tests/bench_gates

# The same through the daemon and the simulator: healthy rollouts and faults; about 15 minutes of
# processor time.  SEEDS="1 2 3", SIZE=1, SPEED=1000: see the script.
bench-faults: all
	BIN=$(B) python3 tests/bench/faults.py

# What needs a look by machine: formats, includes, clang-tidy, cppcheck.
lint:
	sh scripts/lint.sh

install: all
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pkgconfig include/flotilla/base include/flotilla/sdk include/flotilla/store)
	install -m 755 $(B)/flotillad $(B)/flotilla $(DESTDIR)$(PREFIX)/bin
	install -m 644 sdk/flotilla.h $(DESTDIR)$(PREFIX)/include
	install -m 644 $(DEVLIB) $(DESTDIR)$(PREFIX)/lib
	for header in $(DEVHEAD); do install -m 644 $$header $(DESTDIR)$(PREFIX)/include/flotilla/$$header || exit; done
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|; s|@REQUIRES@|$(DEVPKGS)|' deploy/flotilla.pc.in \
		>$(DESTDIR)$(PREFIX)/lib/pkgconfig/flotilla.pc

clean:
	rm -rf build

.PHONY: all tests unit check bench bench-gates bench-faults fuzz lint install clean
.SECONDARY:
-include $(shell find build/$(VARIANT) -name '*.d' 2>/dev/null)
