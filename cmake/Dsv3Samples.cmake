# samples/*.c: one program each; samples/<folder>/*.{c,cpp}: one program per folder. They see dsv3.h and nothing else.
function(dsv3_add_sample name)
  add_executable(sample_${name} ${ARGN})
  set_target_properties(sample_${name} PROPERTIES
    OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/samples)
  target_link_libraries(sample_${name} PRIVATE dsv3_options dsv3::dsv3)
endfunction()

file(GLOB dsv3_sample_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/samples/*.c)
foreach(source IN LISTS dsv3_sample_files)
  get_filename_component(name ${source} NAME_WE)
  dsv3_add_sample(${name} ${source})
endforeach()

file(GLOB dsv3_sample_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${PROJECT_SOURCE_DIR}/samples/*)
foreach(folder IN LISTS dsv3_sample_folders)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.c ${folder}/*.cpp)
  if(IS_DIRECTORY ${folder} AND sources)
    get_filename_component(name ${folder} NAME)
    dsv3_add_sample(${name} ${sources})
  endif()
endforeach()
