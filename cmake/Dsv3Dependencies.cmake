# Third-party code: header-only, so that the shared library needs the C library alone.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)

# Debian's spdlog::spdlog_header_only links the shared fmt; this one compiles fmt in.
add_library(dsv3_spdlog INTERFACE)
get_target_property(dsv3_spdlog_include spdlog::spdlog_header_only INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(dsv3_spdlog SYSTEM INTERFACE ${dsv3_spdlog_include})
target_compile_definitions(dsv3_spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(dsv3_spdlog INTERFACE fmt::fmt-header-only)
