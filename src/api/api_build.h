// The build in one line, put together by the preprocessor.
#pragma once

#include "dsv3.h"

#define DSV3_TEXT_OF_VALUE(value) #value
#define DSV3_TEXT_OF(macro) DSV3_TEXT_OF_VALUE(macro)

#if defined(__linux__)
#  define DSV3_BUILD_SYSTEM "linux"
#elif defined(_WIN32)
#  define DSV3_BUILD_SYSTEM "windows"
#else
#  define DSV3_BUILD_SYSTEM "unknown system"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#  define DSV3_BUILD_PROCESSOR "x86-64"
#elif defined(__aarch64__)
#  define DSV3_BUILD_PROCESSOR "arm64"
#else
#  define DSV3_BUILD_PROCESSOR "unknown processor"
#endif

#if defined(__clang__)
#  define DSV3_BUILD_COMPILER \
    "clang " DSV3_TEXT_OF(__clang_major__) "." DSV3_TEXT_OF(__clang_minor__)
#elif defined(__GNUC__)
#  define DSV3_BUILD_COMPILER "gcc " DSV3_TEXT_OF(__GNUC__) "." DSV3_TEXT_OF(__GNUC_MINOR__)
#else
#  define DSV3_BUILD_COMPILER "unknown compiler"
#endif

#define DSV3_BUILD_TEXT                                                                            \
  "dsv3 " DSV3_TEXT_OF(DSV3_VERSION_MAJOR) "." DSV3_TEXT_OF(DSV3_VERSION_MINOR) "." DSV3_TEXT_OF(  \
      DSV3_VERSION_PATCH) ", " DSV3_BUILD_SYSTEM " " DSV3_BUILD_PROCESSOR ", " DSV3_BUILD_COMPILER \
                          ", devices: cpu, "
