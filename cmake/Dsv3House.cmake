# The tree's own rules as tests; each script explains itself in its first lines.
# dsv3_add_house(<script> <arguments…>)
function(dsv3_add_house name)
  add_test(NAME house_${name}
    COMMAND Python3::Interpreter -B ${PROJECT_SOURCE_DIR}/tests/house/${name}.py ${ARGN})
  set_tests_properties(house_${name} PROPERTIES LABELS house TIMEOUT 120)
endfunction()

dsv3_add_house(house_test)
dsv3_add_house(include_arrows ${PROJECT_SOURCE_DIR})
dsv3_add_house(unique_names ${PROJECT_SOURCE_DIR})
dsv3_add_house(document_paths ${PROJECT_SOURCE_DIR})
dsv3_add_house(machine_paths ${PROJECT_SOURCE_DIR})
dsv3_add_house(source_size ${PROJECT_SOURCE_DIR})
dsv3_add_house(readme_sample ${PROJECT_SOURCE_DIR})
dsv3_add_house(gpu_table ${PROJECT_SOURCE_DIR})
dsv3_add_house(kernel_cards ${PROJECT_SOURCE_DIR})
dsv3_add_house(public_header ${PROJECT_SOURCE_DIR} ${PROJECT_VERSION})
dsv3_add_house(exported_symbols ${PROJECT_SOURCE_DIR} $<TARGET_FILE:dsv3>)
dsv3_add_house(forbidden_symbols ${PROJECT_SOURCE_DIR} $<TARGET_FILE:dsv3_static>)
dsv3_add_house(install_consumer ${PROJECT_BINARY_DIR} ${CMAKE_COMMAND} ${CMAKE_GENERATOR})
dsv3_add_house(foreign_processors $<TARGET_FILE:api_cpu_levels>)
set_tests_properties(house_foreign_processors PROPERTIES SKIP_RETURN_CODE 77)

# forbidden_symbols reads the archive, also where no room has tests yet.
add_custom_target(dsv3_house_inputs ALL DEPENDS dsv3 dsv3_static)
