// Test helper: a statement must throw dsv3::Error with this status and these words in its message.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string_view>

#include "base/error.h"

namespace dsv3 {

template <typename Body>
::testing::AssertionResult throws_error(Status status,
                                        std::initializer_list<std::string_view> words,
                                        const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.status() != status) {
      return ::testing::AssertionFailure()
             << "status " << static_cast<int>(error.status()) << ": " << error.message();
    }
    for (const std::string_view word : words) {
      if (error.message().find(word) == std::string::npos) {
        return ::testing::AssertionFailure() << "no \"" << word << "\" in: " << error.message();
      }
    }
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace dsv3
