# Drover's build. `make help` lists the targets.
#
# Sources are found by folder, so a new file needs no line here. Each top-level folder makes one
# static library; each program is its main file and the libraries it may use (ARCHITECTURE.md).

SANITIZE ?=
PREFIX   ?= /usr/local
DESTDIR  ?=
comma := ,
BUILD ?= build$(if $(SANITIZE),/sanitize-$(subst $(comma),-,$(SANITIZE)))

CC      ?= gcc
PKGS_base       := glib-2.0 gio-2.0
PKGS_proto      := libprotobuf-c
PKGS_storage    := liburing zlib libzstd
PKGS_tool       := fuse3
PKGS_emu        := libpng slirp libzstd libxxhash libseccomp libvncserver
PKGS_agent      := libevent libevent_openssl libevent_pthreads openssl libprotobuf-c jansson libcurl
PKGS_controller := $(PKGS_agent) yaml-0.1 sqlite3
PKGS_all := $(sort $(PKGS_base) $(PKGS_storage) $(PKGS_tool) $(PKGS_emu) $(PKGS_controller))

VERSION := 0.1.0
OPT     ?= -O2 -g
CFLAGS_all := -std=gnu17 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wno-unused-parameter -Wno-gnu-variable-sized-type-not-at-end -fno-strict-aliasing -fstack-protector-strong $(OPT) -MMD -MP -pthread \
	-D_GNU_SOURCE -DDROVER_VERSION='"$(VERSION)"' -I. -I$(BUILD) \
	$(shell pkg-config --cflags $(PKGS_all) 2>/dev/null) $(CFLAGS)
LDFLAGS_all := -pthread $(LDFLAGS)
ifneq ($(SANITIZE),)
CFLAGS_all  += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_all  += $(if $(findstring thread,$(SANITIZE)),-Wno-tsan) # it knows no fences
LDFLAGS_all += -fsanitize=$(SANITIZE)
CFLAGS_all  += $(if $(findstring thread,$(SANITIZE)),-include tests/tsan_glib.h)
endif

LIBS_base       := $(shell pkg-config --libs $(PKGS_base) 2>/dev/null)
LIBS_proto      := $(shell pkg-config --libs $(PKGS_proto) 2>/dev/null) -lnng
LIBS_tool       := $(shell pkg-config --libs $(PKGS_tool) 2>/dev/null)
LIBS_storage    := $(shell pkg-config --libs $(PKGS_storage) 2>/dev/null)
LIBS_emu        := $(shell pkg-config --libs $(PKGS_emu) 2>/dev/null) -lm $(LIBS_storage)
LIBS_agent      := $(shell pkg-config --libs $(PKGS_agent) 2>/dev/null) -lnng $(LIBS_storage)
LIBS_controller := $(shell pkg-config --libs $(PKGS_controller) 2>/dev/null) -lnng

# A folder's library holds all its sources but those with a main().
sources = $(filter-out $(MAINS),$(shell find $(1) -name '*.c' 2>/dev/null | LC_ALL=C sort))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

MAINS := storage/tool/main.c emu/main.c agent/main.c controller/main.c controller/cli/main.c
FOLDERS := proto storage emu agent controller

PROTO_FILES := $(sort $(wildcard proto/*.proto))
PROTO_C     := $(patsubst %.proto,$(BUILD)/%.pb-c.c,$(PROTO_FILES))
PROTO_H     := $(PROTO_C:.c=.h)
PROTO_OBJ   := $(PROTO_C:.c=.o)

LIB = $(BUILD)/lib$(1).a
LIBFILES := $(foreach f,$(FOLDERS),$(call LIB,$(f)))

PROGRAMS := drover drover-controller drover-agent drover-emu drover-vhd
BINARIES := $(addprefix $(BUILD)/,$(PROGRAMS))

.PHONY: all help
all: $(BINARIES)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

# Touches no vector register, as the file says. One loop there would become a call of memcpy().
$(BUILD)/obj/emu/jit/crossing.o: CFLAGS_FILE = -mgeneral-regs-only -fno-tree-loop-distribute-patterns -fno-sanitize=all
# The interpreter's handlers are tail calls, which a stack check at the end would break up.
$(BUILD)/obj/emu/cpu/%.o: CFLAGS_FILE = -fno-stack-protector -mno-red-zone -msse4.2 $(if $(SANITIZE),-DDROVER_SANITIZE)

# ---- compiling -------------------------------------------------------------------------------

$(BUILD)/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<";) $(CC) $(CFLAGS_all) $(CFLAGS_FILE) -c -o $@ $<

$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h &: proto/%.proto
	@mkdir -p $(@D)
	$(if $(V),,@echo "  PROTOC  $<";) protoc-c --proto_path=. --c_out=$(BUILD) $<

.SECONDARY: $(PROTO_C) $(PROTO_H)
$(BUILD)/proto/%.pb-c.o: $(BUILD)/proto/%.pb-c.c | $(PROTO_H)
	$(if $(V),,@echo "  CC      $<";) $(CC) $(CFLAGS_all) -c -o $@ $<

# ACPI machine language from its source language, as C arrays.
$(BUILD)/emu/machine/%.hex: emu/machine/%.asl
	@mkdir -p $(@D)
	@echo "  IASL    $<"; iasl -tc -p $(basename $@) $< >$(basename $@).log 2>&1 || { cat $(basename $@).log; exit 1; }
$(BUILD)/obj/emu/machine/acpi.o: $(patsubst %.asl,$(BUILD)/%.hex,$(wildcard emu/machine/*.asl))

# The option ROM that starts kernels, likewise.
$(BUILD)/emu/machine/kernel_rom.hex: emu/machine/kernel_rom.asm
	@mkdir -p $(@D)
	@echo "  NASM    $<"; nasm -f bin -o $(basename $@).bin $<
	@{ echo "static const unsigned char kernel_rom_code[] = {"; od -An -v -tx1 $(basename $@).bin | sed 's/ \(..\)/0x\1,/g'; echo "};"; } >$@
$(BUILD)/obj/emu/machine/kernel_rom.o: $(BUILD)/emu/machine/kernel_rom.hex

define library
OBJ_$(1) := $$(call objects,$$(call sources,$(1))) $$(if $$(filter proto,$(1)),$$(PROTO_OBJ))
$(call LIB,$(1)): $$(OBJ_$(1))
	@rm -f $$@
	$$(if $$(V),,@echo "  AR      $$(notdir $$@)";) $$(AR) rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call library,$(f))))

# Which libraries each program may link: the include rules of ARCHITECTURE.md, enforced by the linker.
$(BUILD)/drover-vhd:        $(BUILD)/obj/storage/tool/main.o    $(call LIB,storage)
$(BUILD)/drover-emu:        $(BUILD)/obj/emu/main.o             $(call LIB,emu) $(call LIB,storage) $(call LIB,proto)
$(BUILD)/drover-agent:      $(BUILD)/obj/agent/main.o           $(call LIB,agent) $(call LIB,storage) $(call LIB,proto)
$(BUILD)/drover-controller: $(BUILD)/obj/controller/main.o      $(call LIB,controller) $(call LIB,proto)
$(BUILD)/drover:            $(BUILD)/obj/controller/cli/main.o  $(call LIB,controller)
$(BUILD)/drover-vhd:        LIBS_prog = $(LIBS_tool) $(LIBS_storage) $(LIBS_base)
$(BUILD)/drover-emu:        LIBS_prog = $(LIBS_emu) $(LIBS_proto) $(LIBS_base)
$(BUILD)/drover-agent:      LIBS_prog = $(LIBS_agent) $(LIBS_base)
$(BUILD)/drover-controller: LIBS_prog = $(LIBS_controller) $(LIBS_base)
$(BUILD)/drover:            LIBS_prog = $(LIBS_controller) $(LIBS_base)
$(BINARIES):
	$(if $(V),,@echo "  LINK    $(notdir $@)";) $(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS_prog)

# ---- tests -----------------------------------------------------------------------------------

# tests/unit/<folder>/test_<file>.c links the library of <folder> and what that may use.
TEST_SRC := $(sort $(wildcard tests/unit/*/test_*.c))
TEST_BIN := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
TEST_LIBS_proto      := $(call LIB,proto)
TEST_LIBS_storage    := $(call LIB,storage)
TEST_LIBS_emu        := $(call LIB,emu) $(call LIB,storage) $(call LIB,proto)
TEST_LIBS_agent      := $(call LIB,agent) $(call LIB,storage) $(call LIB,proto)
TEST_LIBS_controller := $(call LIB,controller) $(call LIB,proto)
unit_folder = $(word 4,$(subst /, ,$(patsubst $(BUILD)/%,x/%,$(1))))
$(BUILD)/tests/unit/emu/test_cpu_decode: LIBS_test = -lZydis
$(BUILD)/tests/guest/%.bin: tests/guest/%.asm $(wildcard tests/guest/*.inc)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NASM    $<";) nasm -w-all -I tests/guest/ -f bin -o $@ $<
$(BUILD)/tests/guest/%_no_legacy.bin: tests/guest/%.asm $(wildcard tests/guest/*.inc)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NASM    $<";) nasm -w-all -I tests/guest/ -DNO_LEGACY -f bin -o $@ $<
GUESTS := cpu_system cpu_legacy cpu_pages cpu_vector cpu_smp cpu_system_no_legacy cpu_legacy_no_legacy cpu_smp_no_legacy
$(BUILD)/tests/unit/emu/test_machine_engines: | $(patsubst %,$(BUILD)/tests/guest/%.bin,board chips hops kvmclock x2apic)
$(BUILD)/tests/unit/emu/test_jit_events: | $(BUILD)/tests/guest/event_handlers.bin
$(BUILD)/tests/unit/emu/test_jit_relocate: | $(BUILD)/tests/guest/moved_code.bin
$(BUILD)/tests/unit/emu/test_cpu_guest: | $(GUESTS:%=$(BUILD)/tests/guest/%.bin)
# The recording back end that these stand upon.
$(addprefix $(BUILD)/tests/unit/storage/,test_power test_faults test_power_vhdx test_faults_vhdx): $(addprefix $(BUILD)/obj/tests/unit/storage/,power.o model.o)
.SECONDEXPANSION:
$(TEST_BIN): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $$(TEST_LIBS_$$(call unit_folder,$$@))
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $(patsubst $(BUILD)/%,%,$@)";) $(CC) $(LDFLAGS_all) -o $@ $^ \
		-lcmocka $(LIBS_test) $(LIBS_$(call unit_folder,$@)) $(LIBS_proto) $(LIBS_base)

# ---- fuzzing ---------------------------------------------------------------------------------

# The harnesses have a storage library of their own, compiled by clang to tell libFuzzer where it
# has been. Each tests/fuzz/fuzz_<name>.c is a program; fuzz.c is what they share.
FUZZ        := $(BUILD)/fuzz
FUZZ_CC     ?= clang
FUZZ_FLAGS  := -Wno-missing-field-initializers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g
FUZZ_ALL    := $(patsubst tests/fuzz/%.c,$(FUZZ)/%,$(wildcard tests/fuzz/fuzz_*.c))
# Those of the emulator stand on all of it, which takes minutes to compile: for make fuzz only.
FUZZ_EMU    := $(filter $(FUZZ)/fuzz_emu_%,$(FUZZ_ALL))
FUZZ_BIN    := $(filter-out $(FUZZ_EMU),$(FUZZ_ALL))
FUZZ_EMU_OBJ := $(patsubst %.c,$(FUZZ)/obj/%.o,$(call sources,emu))
$(FUZZ)/obj/emu/cpu/%.o: CFLAGS_FILE = -fno-stack-protector -mno-red-zone -msse4.2 -DDROVER_SANITIZE
$(FUZZ)/obj/emu/machine/acpi.o: $(patsubst %.asl,$(BUILD)/%.hex,$(wildcard emu/machine/*.asl))
$(FUZZ)/obj/emu/machine/kernel_rom.o: $(BUILD)/emu/machine/kernel_rom.hex
FUZZ_OBJ    := $(patsubst %.c,$(FUZZ)/obj/%.o,$(filter-out storage/tool/% storage/fuse/%,$(call sources,storage)) tests/fuzz/fuzz.c)
FUZZ_SECONDS ?= 600
FUZZ_CASES  ?= 10000000
FUZZ_ROUNDS ?= 5000000
FUZZ_DEVICES := $(addprefix $(BUILD)/sanitize-address-undefined/tests/unit/emu/,test_device_fuzz test_device_cards_fuzz)
$(FUZZ)/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	@echo "  FUZZCC  $<"; $(FUZZ_CC) $(filter-out -O2,$(CFLAGS_all)) $(CFLAGS_FILE) -fsanitize=fuzzer-no-link $(FUZZ_FLAGS) -c -o $@ $<
$(FUZZ)/libstorage.a: $(FUZZ_OBJ)
$(FUZZ)/libemu.a: $(FUZZ_EMU_OBJ)
$(FUZZ)/libstorage.a $(FUZZ)/libemu.a:
	@rm -f $@; $(AR) rcs $@ $^
$(FUZZ_EMU): $(FUZZ)/%: $(FUZZ)/obj/tests/fuzz/%.o $(FUZZ)/libemu.a $(FUZZ)/libstorage.a $(call LIB,proto)
	@echo "  LINK    fuzz/$*"; $(FUZZ_CC) -fsanitize=fuzzer $(FUZZ_FLAGS) -pthread -o $@ $^ $(LIBS_emu) $(LIBS_proto) $(LIBS_base)
$(FUZZ_BIN): $(FUZZ)/%: $(FUZZ)/obj/tests/fuzz/%.o $(FUZZ)/libstorage.a
	@echo "  LINK    fuzz/$*"; $(FUZZ_CC) -fsanitize=fuzzer $(FUZZ_FLAGS) -pthread -o $@ $^ $(LIBS_storage) $(LIBS_base)
fuzz-build: $(FUZZ_BIN)
fuzz-build-emu: $(FUZZ_EMU)

fuzz: deps ## fuzz every parser, the engines with programs, FUZZ_SECONDS=600 each, every device, and the CPU beside the host's; what is found stays in build/fuzz/found
	@$(MAKE) --no-print-directory -j2 fuzz-build fuzz-build-emu all $(BUILD)/tests/unit/emu/test_cpu_native
	@TEST_CASES=$(FUZZ_CASES) $(BUILD)/tests/unit/emu/test_cpu_native
	@BUILD=$(BUILD) tests/fuzz/run.sh $(FUZZ_SECONDS)
	@BUILD=$(BUILD) tests/fuzz/run.sh $(FUZZ_SECONDS) emu_kernel emu_saved emu_options
	@$(MAKE) --no-print-directory -j2 $(addprefix $(BUILD)/tests/unit/emu/,test_jit_fuzz test_jit_events test_jit_smp)
	@BUILD=$(BUILD) tests/fuzz/engines.sh $(FUZZ_SECONDS)
	@$(MAKE) --no-print-directory -j2 SANITIZE=address,undefined $(FUZZ_DEVICES)
	@for test in $(FUZZ_DEVICES); do DROVER_FUZZ_ROUNDS=$(FUZZ_ROUNDS) $$test || exit 1; done

.PHONY: fuzz-build fuzz-build-emu deps test test-build test-long bench bench-emu bench-operations lint demo demo-down guest install clean fuzz
deps: ## install the Debian packages that Drover builds and tests with
	@deploy/install-deps.sh

test-build: $(BINARIES) $(TEST_BIN) $(if $(SANITIZE),,fuzz-build)

test: deps ## install what is missing, build, run every test
	@$(MAKE) --no-print-directory -j2 test-build guest
	@BUILD=$(BUILD) tests/run.sh

test-long: deps ## every test, also those that take long: one to two hours on two cores
	@$(MAKE) --no-print-directory -j2 test-build guest
	@BUILD=$(BUILD) tests/run.sh --long

$(BUILD)/tests/bench/queue_bench: $(BUILD)/obj/tests/bench/queue_bench.o $(call LIB,storage)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK    $(patsubst $(BUILD)/%,%,$@)";) $(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS_storage) $(LIBS_base)

bench: all guest $(BUILD)/tests/bench/queue_bench ## benchmarks, each as a ratio to a peer run in the same call
	@BUILD=$(BUILD) tests/bench/run.sh

bench-emu: $(BUILD)/drover-emu guest ## the emulator's kinds of work, natively, here and in QEMU: a table; an idle guest
	@deploy/install-deps.sh --bench
	@BUILD=$(BUILD) tests/bench/emu/run.py
	@BUILD=$(BUILD) tests/bench/emu/idle.py

bench-operations: $(BUILD)/drover-emu guest ## single operations, natively, here and in QEMU: what is slower here stands first
	@deploy/install-deps.sh
	@BUILD=$(BUILD) tests/bench/emu/operations.py

lint: ## layout, banned calls, include rules
	@tests/lint.sh

guest: $(BUILD)/guest/hello.vhd ## build the demo's guest disk
$(BUILD)/guest/hello.vhd: $(wildcard deploy/guest/*) | $(BUILD)/drover-vhd
	@DROVER_VHD=$(BUILD)/drover-vhd deploy/guest/build.sh $(BUILD)/guest

demo: deps ## two hosts, two machines, one move, all on this computer
	@$(MAKE) --no-print-directory -j2 all guest
	@BUILD=$(BUILD) deploy/demo.sh up

demo-down: ## end the demo
	@BUILD=$(BUILD) deploy/demo.sh down

install: all ## install under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin/
	install -d $(DESTDIR)$(PREFIX)/share/drover/examples
	install -m 644 $(wildcard deploy/examples/*.yaml) $(DESTDIR)$(PREFIX)/share/drover/examples/

clean: ## remove build/
	rm -rf build

-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
