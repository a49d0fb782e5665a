#include "progress.h"

#include <unistd.h>

#include <cstdio>

namespace dsv3::bench {

void show_progress(const std::string& text) {
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r%-78.78s%s", text.c_str(), text.empty() ? "\r" : "");
  } else if (!text.empty()) {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

}  // namespace dsv3::bench
