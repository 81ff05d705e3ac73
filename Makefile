# make            build the programs into build/release/
# make unit       unit, fault and corpus tests of this VARIANT
# make lint       includes, clang-tidy, cppcheck; make check: all that must be green
# make fuzz       libFuzzer; make bench: ratios against peers; make install
# make VARIANT=asan|tsan ...   the same with sanitizers, in build/asan/ or build/tsan/
VARIANT ?= release
CC      ?= gcc
B       := build/$(VARIANT)
VERSION := 0.1.0

PKGS    := libmicrohttpd sqlite3 jansson libsodium libzstd libcrypto libcurl
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
MAINS   := server/main.c cli/main.c sdk/example.c cli/synth_main.c
OBJ     := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS),$(SRC))) $(B)/gen/schema_sql.o
LIB     := $(B)/libflotilla-all.a
UNIT    := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
FAULT   := $(patsubst tests/fault/%.c,$(B)/tests/%,$(wildcard tests/fault/fault_*.c))
REPLAY  := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/replay_%,$(wildcard tests/fuzz/fuzz_*.c))
SUPPORT := $(patsubst %.c,$(B)/%.o,$(filter-out tests/support/fault.c,$(wildcard tests/support/*.c)))
TESTLIB := $(B)/libtests.a
PREFIX  ?= /usr/local

PROGRAMS := $(foreach p,flotillad:server/main.c flotilla:cli/main.c \
              flotilla-example:sdk/example.c flotilla-synth:cli/synth_main.c,\
              $(if $(wildcard $(lastword $(subst :, ,$(p)))),$(B)/$(firstword $(subst :, ,$(p)))))

all: $(PROGRAMS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

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
$(B)/tests/kill_loop: $(B)/tests/system/kill_loop.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
# What the attack suite plays, who serves it, and our client of it.
$(B)/tests/attack_%: $(B)/tests/attack/%.o $(TESTLIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDALL) $^ $(LIBS) -o $@
$(B)/tests/bench_%: $(B)/tests/bench/%.o $(LIB)
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
tests: $(UNIT) $(FAULT) $(REPLAY) $(ATTACK) $(B)/tests/gate_vectors $(B)/tests/kill_loop
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

# What needs a look by machine: formats, includes, clang-tidy, cppcheck.
lint:
	sh scripts/lint.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(B)/flotillad $(B)/flotilla $(DESTDIR)$(PREFIX)/bin
	install -m 644 sdk/flotilla.h $(DESTDIR)$(PREFIX)/include

clean:
	rm -rf build

.PHONY: all tests unit check bench fuzz lint install clean
.SECONDARY:
-include $(shell find build/$(VARIANT) -name '*.d' 2>/dev/null)
