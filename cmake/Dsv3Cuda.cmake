# The CUDA device. src/cuda is plain C++ and compiled once; behind it stand the kernels by nvcc with the static CUDA
# runtime, nothing at all (DSV3_CUDA=OFF), or, in tests, the same kernels as C++ on the emulator of tests/emulation.
set(DSV3_CUDA AUTO CACHE STRING "ON, OFF, or AUTO: when an nvcc of CUDA 13 is found")
set_property(CACHE DSV3_CUDA PROPERTY STRINGS AUTO ON OFF)
# SASS for each; no 'a', so that later minor versions run. Kernels for Hopper alone (*_sm90.cu) are built for 90a.
set(DSV3_CUDA_ARCHITECTURES 80-real 89-real 90-real 100-real 120-real CACHE STRING "GPUs to build for")

set(dsv3_has_cuda OFF)
if(NOT DSV3_CUDA STREQUAL "OFF")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(dsv3_nvcc nvcc PATHS /usr/local/cuda/bin)
    mark_as_advanced(dsv3_nvcc)
  endif()
  if(CMAKE_CUDA_COMPILER OR dsv3_nvcc)
    if(NOT CMAKE_CUDA_COMPILER)
      set(CMAKE_CUDA_COMPILER ${dsv3_nvcc})
    endif()
    if(PROJECT_IS_TOP_LEVEL AND DSV3_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
      set(CMAKE_CUDA_COMPILER_LAUNCHER ${DSV3_CCACHE})
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${DSV3_CUDA_ARCHITECTURES})
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 20)
    if(CMAKE_VERSION VERSION_LESS 3.26)
      # It does not know CUDA's C++20 and falls back to 17 silently: then that means 20.
      set(CMAKE_CUDA17_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA17_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    find_package(CUDAToolkit REQUIRED)
    set(dsv3_has_cuda ON)
    if(CUDAToolkit_VERSION VERSION_LESS 13.0)
      message(FATAL_ERROR "CUDA is ${CUDAToolkit_VERSION}, wanted 13.0 or newer (or -DDSV3_CUDA=OFF)")
    endif()
  elseif(DSV3_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DSV3_CUDA is ON and nvcc was not found (PATH, /usr/local/cuda/bin)")
  endif()
endif()

function(dsv3_cuda_properties target)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    # CMake 3.25 does not know CUDA's C++20: the option is given by hand where kernels are compiled.
    CUDA_STANDARD 17
    CUDA_STANDARD_REQUIRED OFF
    CXX_VISIBILITY_PRESET hidden
    CUDA_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(${target} PRIVATE
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
endfunction()

# Host side, the same for a GPU and for the emulator.
file(GLOB dsv3_cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cpp ${PROJECT_SOURCE_DIR}/src/cuda/*.h)
list(FILTER dsv3_cuda_sources EXCLUDE REGEX "/(gpu_runtime_cudart|cuda_absent)\\.cpp$")
add_library(dsv3_cuda_host OBJECT EXCLUDE_FROM_ALL ${dsv3_cuda_sources})
dsv3_cuda_properties(dsv3_cuda_host)
target_link_libraries(dsv3_cuda_host PRIVATE dsv3_options Threads::Threads)

file(GLOB dsv3_kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cu)
set(dsv3_kernel_sm90_sources ${dsv3_kernel_sources})
list(FILTER dsv3_kernel_sm90_sources INCLUDE REGEX "_sm90\\.cu$")
list(FILTER dsv3_kernel_sources EXCLUDE REGEX "_sm90\\.cu$")

# What libdsv3 gets: objects and link libraries.
add_library(dsv3_device INTERFACE)
if(dsv3_has_cuda)
  add_library(dsv3_kernels OBJECT ${dsv3_kernel_sources})
  dsv3_cuda_properties(dsv3_kernels)
  # Products are rounded before they are added unless a kernel says fmaf: which of several copies of an expression the
  # compiler would fuse is not for it to choose, or rows would differ in bits by the way they took.
  target_compile_options(dsv3_kernels PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
  set(dsv3_device_objects $<TARGET_OBJECTS:dsv3_cuda_host> $<TARGET_OBJECTS:dsv3_kernels>)
  if(dsv3_kernel_sm90_sources)
    add_library(dsv3_kernels_sm90 OBJECT ${dsv3_kernel_sm90_sources})
    dsv3_cuda_properties(dsv3_kernels_sm90)
    set_target_properties(dsv3_kernels_sm90 PROPERTIES CUDA_ARCHITECTURES 90a-real)
    target_compile_options(dsv3_kernels_sm90 PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
    list(APPEND dsv3_device_objects $<TARGET_OBJECTS:dsv3_kernels_sm90>)
  endif()
  add_library(dsv3_cudart OBJECT ${PROJECT_SOURCE_DIR}/src/cuda/gpu_runtime_cudart.cpp)
  dsv3_cuda_properties(dsv3_cudart)
  target_include_directories(dsv3_cudart SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(dsv3_cudart PRIVATE dsv3_options)
  list(APPEND dsv3_device_objects $<TARGET_OBJECTS:dsv3_cudart>)
  target_link_libraries(dsv3_device INTERFACE $<BUILD_INTERFACE:CUDA::cudart_static>)
else()
  add_library(dsv3_no_cuda OBJECT ${PROJECT_SOURCE_DIR}/src/cuda/cuda_absent.cpp)
  dsv3_cuda_properties(dsv3_no_cuda)
  target_link_libraries(dsv3_no_cuda PRIVATE dsv3_options)
  set(dsv3_device_objects $<TARGET_OBJECTS:dsv3_no_cuda>)
endif()

# dsv3_emulated: the library for tests of inner classes, with a GPU that is plain C++.
function(dsv3_add_emulated_library)
  set(sources)
  foreach(kernel IN LISTS dsv3_kernel_sources)
    get_filename_component(name ${kernel} NAME_WE)
    set(wrapper ${PROJECT_BINARY_DIR}/emulated/${name}.cpp)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"kernels/${name}.cu\"\n")
    list(APPEND sources ${wrapper})
  endforeach()
  add_library(dsv3_emulated_kernels OBJECT EXCLUDE_FROM_ALL ${sources})
  file(GLOB emulation CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/emulation/*.cpp)
  list(FILTER emulation EXCLUDE REGEX "_test\\.cpp$")
  add_library(dsv3_emulator OBJECT EXCLUDE_FROM_ALL ${emulation})
  # What runs between the threads of a block is not theirs: sanitizers are to watch kernels, not their scheduler.
  foreach(unwatched fiber emulated_block emulated_warp emulated_mma)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/emulation/${unwatched}.cpp PROPERTIES
      COMPILE_OPTIONS "-O3;-fno-sanitize=all")
  endforeach()
  foreach(target dsv3_emulated_kernels dsv3_emulator)
    dsv3_cuda_properties(${target})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_compile_definitions(${target} PRIVATE DSV3_EMULATED)
    target_compile_options(${target} PRIVATE -Wno-unknown-pragmas)  # nvcc's unroll
    target_link_libraries(${target} PRIVATE dsv3_options Threads::Threads)
  endforeach()
  add_library(dsv3_emulated STATIC EXCLUDE_FROM_ALL
    $<TARGET_OBJECTS:dsv3_objects> $<TARGET_OBJECTS:dsv3_cuda_host>
    $<TARGET_OBJECTS:dsv3_emulated_kernels> $<TARGET_OBJECTS:dsv3_emulator>)
  set_target_properties(dsv3_emulated PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(dsv3_emulated PUBLIC
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(dsv3_emulated PUBLIC DSV3_EMULATED)
  target_link_libraries(dsv3_emulated PUBLIC Threads::Threads)
endfunction()
