"""Do the tests find faults? Each fault below is planted into a copy of a real source, linked in front of the library
with a room's tests, and must make a named test fail for the stated reason.

    planted_faults.py list <sanitizer>              the faults to build: name file room
    planted_faults.py plant <name> <root> <folder>  writes the faulty copy, and unit.cpp that compiles it
    planted_faults.py expect <name> <sanitizer> <program>

It is an error when the text to be replaced is no longer there exactly once, when the tests pass, and when they fail for
another reason. cmake/Dsv3Planted.cmake makes a program and a test of each fault."""

import dataclasses
import os
import re
import subprocess
import sys

SECONDS_MAX = 120

# What a run must say. A race is found by ThreadSanitizer, whatever the numbers.
RESULTS = r": Failure\n"  # of an expectation, not a crash
RACE = r"ThreadSanitizer: data race"
OVERRUN = r"AddressSanitizer: heap-buffer-overflow"


@dataclasses.dataclass
class Fault:
    name: str
    file: str
    old: str
    new: str
    room: str
    tests: str  # GoogleTest filter; as few as find it
    found_by: dict  # sanitizer ("" for none) to what the run must say
    unit: str = ""  # source that includes the file when it is a header


FAULTS = [
    Fault(
        name="barrier_of_the_tile_ring",
        file="kernels/linear_tiles_any.cu",
        old="    async_wait<S::kCount - 2>();\n    __syncthreads();",
        new="    async_wait<S::kCount - 2>();",
        room="cuda",
        tests="LinearKernels.NanAndInfinityStayInTheirRowAndOutput",
        found_by={"": RESULTS, "thread": RACE},
    ),
    Fault(
        name="barrier_of_the_warp_ring",
        file="kernels/linear_stream_any.cu",
        old="    __syncwarp();  // copied for all lanes, and the stage before this one is free",
        new="",
        room="cuda",
        tests="LinearKernels.NanAndInfinityStayInTheirRowAndOutput",
        found_by={"thread": RACE},
    ),
    Fault(
        name="barrier_before_the_bins_are_cleared",
        file="kernels/sample_select.h",
        unit="kernels/sample_any.cu",
        old="  __syncthreads();  // the bins may still be read",
        new="",
        room="cuda",
        tests="SampleKernelsTest.CutsAmongEqualsKeepTheLowerIds",
        found_by={"thread": RACE},
    ),
    Fault(
        name="halves_of_a_fragment_swapped",
        file="kernels/linear_tile.h",
        unit="kernels/linear_tiles_any.cu",
        old="{low[half], high[half], low[half + 1], high[half + 1]}",
        new="{low[half], low[half + 1], high[half], high[half + 1]}",
        room="cuda",
        tests="LinearKernels.NanAndInfinityStayInTheirRowAndOutput",
        found_by={"": RESULTS},
    ),
    Fault(
        name="values_loaded_as_keys_are",
        file="kernels/mla_decode_any.cu",
        old="      load_matrices_transposed(",
        new="      load_matrices(",
        room="cuda",
        tests="AttentionKernels.MixedBatchesMatchTheOracle",
        found_by={"": RESULTS},
    ),
    Fault(
        name="copy_not_waited_for",
        file="kernels/mla_decode_any.cu",
        old="    async_wait<0>();\n    __syncthreads();\n    const auto& keys",
        new="    __syncthreads();\n    const auto& keys",
        room="cuda",
        tests="AttentionKernels.MixedBatchesMatchTheOracle",
        found_by={"": RESULTS},
    ),
    Fault(
        name="one_group_too_many",
        file="kernels/norm_any.cu",
        old="  for (uint32_t group = threadIdx.x; group < groups_of_eight(cols); group += blockDim.x) {",
        new="  for (uint32_t group = threadIdx.x; group <= groups_of_eight(cols); group += blockDim.x) {",
        room="cuda",
        tests="RowKernelsTest.NormFollowsDoublePrecision",
        found_by={"address": OVERRUN},
    ),
    Fault(
        name="slot_of_the_next_position",
        file="kernels/mla_append_any.cu",
        old="cached_row(params.pages, rank, span.pages, position)",
        new="cached_row(params.pages, rank, span.pages, position ^ 1u)",
        room="cuda",
        tests="AttentionAppend.RotatesAndStores",
        found_by={"": RESULTS},
    ),
    Fault(
        # In the form of prompts positions are arguments of launches: they stay as they were when it was recorded.
        name="position_baked_into_a_recording",
        file="src/model/transformer.cpp",
        old="limits_.positions_max - 1, AttentionForm::kAbsorbed);\n  begin(input.view());\n  DSV3_ASSERT(pass_.in.is_decode);",
        new="0, AttentionForm::kUnabsorbed);\n  begin(input.view());",
        room="model",
        tests="*CudaDrive.DrawsTheSameTokens/bf16_shards",
        found_by={"": RESULTS},
    ),
]


def fault_named(name):
    found = [fault for fault in FAULTS if fault.name == name]
    if len(found) != 1:
        sys.exit(f"planted_faults: no fault {name}, or two")
    return found[0]


def planted_text(fault, text):
    """The text with the fault in it. The place must be there once, or the fault has lost its aim."""
    count = text.count(fault.old)
    if count != 1:
        sys.exit(f"planted_faults: {fault.name}: {fault.file} holds the text to be replaced {count} times, wanted once:\n{fault.old}")
    return text.replace(fault.old, fault.new)


def write_text(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def plant(fault, root, folder):
    with open(os.path.join(root, fault.file), encoding="utf-8") as file:
        text = file.read()
    write_text(os.path.join(folder, fault.file), planted_text(fault, text))
    unit = (fault.unit or fault.file).removeprefix("src/")
    write_text(os.path.join(folder, "unit.cpp"), f'#include "{unit}"\n')


def why_not_found(fault, sanitizer, status, output):
    """None when the run failed as it had to."""
    if " 0 tests " in output:
        return f"no test is named {fault.tests}"
    if status == 0:
        return "the tests pass"
    wanted = fault.found_by[sanitizer]
    if not re.search(wanted, output):
        return f"nothing in the output matches: {wanted}"
    if wanted != RESULTS and os.path.basename(fault.file) not in output:
        return f"the report does not name {fault.file}"
    return None


def expect(fault, sanitizer, program):
    command = [program, f"--gtest_filter={fault.tests}", "--gtest_brief=1", "--gtest_break_on_failure"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                         timeout=SECONDS_MAX, check=False)
    why = why_not_found(fault, sanitizer, run.returncode, run.stdout)
    if why:
        sys.exit(f"{run.stdout[-8000:]}\nplanted_faults: {fault.name} in {fault.file} was not found: {why}")
    print(f"{fault.name}: found")


def main(arguments):
    verb = arguments[0]
    if verb == "list":
        sanitizer = arguments[1] if len(arguments) > 1 else ""
        for fault in FAULTS:
            if sanitizer in fault.found_by:
                print(fault.name, fault.file, fault.room)
    elif verb == "plant":
        plant(fault_named(arguments[1]), arguments[2], arguments[3])
    elif verb == "expect":
        expect(fault_named(arguments[1]), arguments[2], arguments[3])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
