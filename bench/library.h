// Which libdsv3 is measured? The one linked in, or another one opened by its path: both through
// the C interface alone.
#pragma once

#include <memory>
#include <string>

#include "dsv3.h"

namespace dsv3::bench {

struct Library {
  std::string name;  // "this build", or the path
  std::shared_ptr<void> handle;

  decltype(&dsv3_build_info) build_info = nullptr;
  decltype(&dsv3_status_name) status_name = nullptr;
  decltype(&dsv3_context_options_init) context_options_init = nullptr;
  decltype(&dsv3_context_create) context_create = nullptr;
  decltype(&dsv3_context_destroy) context_destroy = nullptr;
  decltype(&dsv3_context_load) context_load = nullptr;
  decltype(&dsv3_context_error) context_error = nullptr;
  decltype(&dsv3_context_info) context_info = nullptr;
  decltype(&dsv3_sequence_create) sequence_create = nullptr;
  decltype(&dsv3_sequence_destroy) sequence_destroy = nullptr;
  decltype(&dsv3_sequence_append_tokens) sequence_append_tokens = nullptr;
  decltype(&dsv3_generate_options_init) generate_options_init = nullptr;
  decltype(&dsv3_sequence_generate) sequence_generate = nullptr;
  decltype(&dsv3_step) step = nullptr;
};

Library linked_library();
// UNSUPPORTED naming the path and what the system says.
Library open_library(const std::string& path);

}  // namespace dsv3::bench
