# Faults planted into real kernels, which the tests must find: tests/emulation/planted_faults.py holds the list and says
# how. For each one of this kind of build: the faulty copy, a program of the room's tests in which it comes before the
# library's own object, and a test that wants the program to fail.
set(dsv3_planting ${PROJECT_SOURCE_DIR}/tests/emulation/planted_faults.py)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${dsv3_planting})

function(dsv3_add_planted_fault name file room)
  set(folder ${PROJECT_BINARY_DIR}/planted/${name})
  add_custom_command(
    OUTPUT ${folder}/unit.cpp
    COMMAND Python3::Interpreter -B ${dsv3_planting} plant ${name} ${PROJECT_SOURCE_DIR} ${folder}
    DEPENDS ${dsv3_planting} ${PROJECT_SOURCE_DIR}/${file}
    VERBATIM)
  add_executable(planted_${name} ${folder}/unit.cpp $<TARGET_OBJECTS:test_${room}>)
  # The faulty copy is found before the file that it stands for.
  target_include_directories(planted_${name} BEFORE PRIVATE ${folder} ${folder}/src)
  target_compile_options(planted_${name} PRIVATE -w)
  target_link_libraries(planted_${name} PRIVATE $<TARGET_PROPERTY:test_${room},LINK_LIBRARIES>)
  add_test(NAME planted_${name}
    COMMAND Python3::Interpreter -B ${dsv3_planting} expect ${name} "${DSV3_SANITIZE}" $<TARGET_FILE:planted_${name}>)
  set_tests_properties(planted_${name} PROPERTIES LABELS planted TIMEOUT ${dsv3_test_seconds})
endfunction()

execute_process(
  COMMAND ${Python3_EXECUTABLE} -B ${dsv3_planting} list "${DSV3_SANITIZE}"
  OUTPUT_VARIABLE dsv3_faults OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" dsv3_faults "${dsv3_faults}")
foreach(fault IN LISTS dsv3_faults)
  separate_arguments(fault)
  dsv3_add_planted_fault(${fault})
endforeach()
