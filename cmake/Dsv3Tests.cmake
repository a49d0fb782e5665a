# Every folder of tests/ is one room. A file dropped into a room is compiled into it; nothing is listed by hand.
#   tests/<room>/*.cpp          one GoogleTest program test_<room>, linked to dsv3_emulated (inner classes, emulated GPU)
#   tests/reference, support, ops    files not ending in _test.cpp are libraries that every room may use
#   tests/emulation             files not ending in _test.cpp are the emulated GPU, part of dsv3_emulated
#   tests/api/*.c               one C99 program each, linked to the shared library; exit status 0 is success
#   tests/api/*_test.cpp        one GoogleTest program test_api on the shared library and dsv3.h alone
#   tests/api/*.py              run as: python3 FILE <libdsv3.so> <sample model folder>
#   tests/bench/*.cpp           one GoogleTest program test_bench on the parts of dsv3-bench (Dsv3Bench.cmake)
#   tests/house/*.py            checks of the tree itself
#   tests/fuzz/*_fuzz.cpp       one fuzz target each, run on its corpus (Dsv3Fuzz.cmake)
# Single tests are counted by tests/house/count_tests.py from the folder `results`.
find_package(GTest REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

dsv3_add_emulated_library()

set(dsv3_results ${PROJECT_BINARY_DIR}/results)
set(dsv3_sample_model ${PROJECT_SOURCE_DIR}/samples/models/shakespeare)
set(dsv3_test_seconds 300)
if(DSV3_SANITIZE)
  set(dsv3_test_seconds 900)
endif()
file(MAKE_DIRECTORY ${dsv3_results})

add_library(dsv3_test_options INTERFACE)
target_compile_definitions(dsv3_test_options INTERFACE
  "DSV3_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\""
  "DSV3_GOLDEN_DIR=\"${PROJECT_SOURCE_DIR}/tests/golden\""
  "DSV3_SAMPLE_MODEL=\"${dsv3_sample_model}\"")
target_include_directories(dsv3_test_options INTERFACE
  ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR})
target_link_libraries(dsv3_test_options INTERFACE dsv3_options)

# Under a sanitizer the emulated GPU is ten times slower. What runs the same kernels with other data, or the same
# host code with larger models, is left to the plain build; tests/cuda runs every kernel in each of them.
set(dsv3_sanitized_filter_ops "-*cuda_1x128*:*StrictOps*/cuda:*SampleConformance*/cuda")
set(dsv3_sanitized_filter_model "-*CudaGolden*:*CudaDrive*groups_yarn*:*CudaDrive*fp8_cut_blocks*")
set(dsv3_sanitized_filter_gpu "-GpuEndToEnd*")
if(DSV3_SANITIZE STREQUAL "thread")
  string(APPEND dsv3_sanitized_filter_ops ":*_1x128*:*AttentionConformance*/cuda")
  # One thread only; tests/api drives the same code from many.
  set(dsv3_sanitized_filter_text "*Threads*:*ToolCall*")
  set(dsv3_sanitized_filter_constraint "ConstraintMaskTest*:ConstraintTest*")
  string(APPEND dsv3_sanitized_filter_gpu ":GpuSchedule*:EmulatedAttack*:GpuLife.Memory*:GpuLife.Quantised*")
endif()

# dsv3_add_gtest(<room> SOURCES … LIBRARIES …)
function(dsv3_add_gtest room)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_executable(test_${room} ${arg_SOURCES})
  target_link_libraries(test_${room} PRIVATE
    dsv3_test_options ${arg_LIBRARIES} GTest::gmock GTest::gtest GTest::gtest_main)
  set(filter)
  if(DSV3_SANITIZE AND DEFINED dsv3_sanitized_filter_${room})
    set(filter --gtest_filter=${dsv3_sanitized_filter_${room}})
  endif()
  add_test(NAME test_${room}
    COMMAND test_${room} --gtest_brief=1 --gtest_output=json:${dsv3_results}/test_${room}.json ${filter})
  set_tests_properties(test_${room} PROPERTIES LABELS room TIMEOUT ${dsv3_test_seconds})
endfunction()

# A library of the files of tests/<folder> that are not tests; empty folders give an empty library.
function(dsv3_add_test_library target folder)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC
      dsv3_test_options ${ARGN} nlohmann_json::nlohmann_json)
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ARGN} nlohmann_json::nlohmann_json)
  endif()
endfunction()
dsv3_add_test_library(dsv3_reference reference)
dsv3_add_test_library(dsv3_test_support support dsv3_reference)
dsv3_add_test_library(dsv3_ops_fixture ops dsv3_reference dsv3_emulated GTest::gtest)

file(GLOB dsv3_test_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${PROJECT_SOURCE_DIR}/tests/*)
foreach(folder IN LISTS dsv3_test_folders)
  get_filename_component(room ${folder} NAME)
  if(NOT IS_DIRECTORY ${folder} OR room MATCHES "^(api|bench|house|golden|fuzz)$")
    continue()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  if(room MATCHES "^(reference|support|ops|emulation)$")
    list(FILTER sources INCLUDE REGEX "_test\\.cpp$")
  endif()
  if(sources MATCHES "_test\\.cpp")
    dsv3_add_gtest(${room} SOURCES ${sources} LIBRARIES dsv3_ops_fixture dsv3_test_support dsv3_reference dsv3_emulated)
  endif()
endforeach()

include(Dsv3Planted)
include(Dsv3Fuzz)

# The same tests for a real GPU, for `./dev gpu-bundle`: one program with everything in it, paths relative to the bundle.
if(dsv3_has_cuda AND NOT DSV3_SANITIZE)
  set(dsv3_gpu_sources)
  foreach(folder ops cuda gpu reference support)
    file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cpp)
    if(folder MATCHES "^(reference|support)$")
      list(FILTER found EXCLUDE REGEX "_test\\.cpp$")
    endif()
    list(APPEND dsv3_gpu_sources ${found})
  endforeach()
  # What needs the emulator's hooks, and what replaces operator new.
  list(FILTER dsv3_gpu_sources EXCLUDE REGEX "/(emulated_[a-z_]*|failing_new)\\.cpp$")
  add_executable(gpu_tests EXCLUDE_FROM_ALL ${dsv3_gpu_sources})
  target_compile_definitions(gpu_tests PRIVATE
    DSV3_SOURCE_DIR="." DSV3_GOLDEN_DIR="golden" DSV3_SAMPLE_MODEL="model")
  target_include_directories(gpu_tests PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR})
  target_link_libraries(gpu_tests PRIVATE dsv3_options dsv3_static
    nlohmann_json::nlohmann_json GTest::gmock GTest::gtest GTest::gtest_main)
  target_link_options(gpu_tests PRIVATE -static-libstdc++ -static-libgcc)
endif()

# The public API, as an application sees it.
file(GLOB dsv3_api_programs CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/api/*.c)
foreach(source IN LISTS dsv3_api_programs)
  get_filename_component(name ${source} NAME_WE)
  add_executable(api_${name} ${source})
  target_compile_options(api_${name} PRIVATE -pedantic -Werror)
  target_link_libraries(api_${name} PRIVATE dsv3_test_options dsv3::dsv3 Threads::Threads)
  add_test(NAME api_${name} COMMAND api_${name})
  set_tests_properties(api_${name} PROPERTIES LABELS api TIMEOUT ${dsv3_test_seconds})
endforeach()

file(GLOB dsv3_api_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/api/*.cpp)
if(dsv3_api_sources)
  dsv3_add_gtest(api SOURCES ${dsv3_api_sources} LIBRARIES dsv3::dsv3 Threads::Threads)
  set_tests_properties(test_api PROPERTIES LABELS api)
endif()

# A sanitized library cannot be loaded into a plain Python, and the house checks read the sources or the normal objects.
if(NOT DSV3_SANITIZE)
  file(GLOB dsv3_api_scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/api/*.py)
  foreach(source IN LISTS dsv3_api_scripts)
    get_filename_component(name ${source} NAME_WE)
    add_test(NAME api_${name}_py
      COMMAND Python3::Interpreter -B ${source} $<TARGET_FILE:dsv3> ${dsv3_sample_model})
    set_tests_properties(api_${name}_py PROPERTIES
      LABELS api TIMEOUT ${dsv3_test_seconds} ENVIRONMENT "DSV3_LIBRARY=$<TARGET_FILE:dsv3>")
  endforeach()
  include(Dsv3House)
endif()
