# dsv3-bench: figures as ratios to this machine's own ceilings. It links the archive, as it times inner classes too.
file(GLOB dsv3_bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.cpp)
list(FILTER dsv3_bench_sources EXCLUDE REGEX "/bench_main\\.cpp$")
add_library(dsv3_bench_parts STATIC ${dsv3_bench_sources})
target_include_directories(dsv3_bench_parts PUBLIC ${PROJECT_SOURCE_DIR}/bench)
target_link_libraries(dsv3_bench_parts PUBLIC dsv3_options dsv3_static ${CMAKE_DL_LIBS})
add_executable(dsv3_bench ${PROJECT_SOURCE_DIR}/bench/bench_main.cpp)
set_target_properties(dsv3_bench PROPERTIES OUTPUT_NAME dsv3-bench)
target_link_libraries(dsv3_bench PRIVATE dsv3_bench_parts)
if(NOT DSV3_SANITIZE)
  target_link_options(dsv3_bench PRIVATE -static-libstdc++ -static-libgcc)
endif()

if(DSV3_BUILD_TESTS)
  file(GLOB dsv3_bench_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/bench/*.cpp)
  dsv3_add_gtest(bench SOURCES ${dsv3_bench_tests} LIBRARIES dsv3_bench_parts nlohmann_json::nlohmann_json)
  # That it runs, not how fast.
  add_test(NAME bench_ops COMMAND dsv3_bench ops --small)
  add_test(NAME bench_model COMMAND dsv3_bench model ${PROJECT_SOURCE_DIR}/samples/models/shakespeare --small)
  add_test(NAME bench_text COMMAND dsv3_bench text ${PROJECT_SOURCE_DIR}/samples/models/shakespeare
    --text ${PROJECT_SOURCE_DIR}/README.md --small)
  add_test(NAME bench_model_ops COMMAND dsv3_bench model ${PROJECT_SOURCE_DIR}/samples/models/shakespeare --small
    --ops --plot ${PROJECT_BINARY_DIR}/bench_model_ops.svg --json ${PROJECT_BINARY_DIR}/bench_model_ops.json)
  add_test(NAME bench_versus COMMAND dsv3_bench model ${PROJECT_SOURCE_DIR}/samples/models/shakespeare --small
    --versus $<TARGET_FILE:dsv3>,threads=1)
  # The same tokens, whatever the threads: STRICT.
  set_tests_properties(bench_versus PROPERTIES FAIL_REGULAR_EXPRESSION "before a difference")
  set_tests_properties(bench_ops bench_model bench_model_ops bench_versus bench_text PROPERTIES LABELS bench TIMEOUT 120)
endif()
