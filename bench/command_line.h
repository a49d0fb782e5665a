// What does the command line ask for?
#pragma once

#include <string>

#include "bench.h"

namespace dsv3::bench {

struct CommandLine {
  std::string command;  // "ops", "model", "text"
  Options options;
};

// INVALID_ARGUMENT naming the word that is not known or has no value.
CommandLine parse_command_line(int argc, const char* const* argv);

// How to call it, for people.
const char* usage();

}  // namespace dsv3::bench
