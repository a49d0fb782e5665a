#include "base/error.h"

#include <charconv>

namespace dsv3 {
namespace text_detail {
namespace {

template <typename Number>
void append_number(std::string& out, Number value) {
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof(digits), value);
  out.append(digits, result.ptr);
}

}  // namespace

void append(std::string& out, std::string_view value) { out.append(value); }
void append(std::string& out, int64_t value) { append_number(out, value); }
void append(std::string& out, uint64_t value) { append_number(out, value); }
void append(std::string& out, double value) { append_number(out, value); }

}  // namespace text_detail

void fail_assert(const char* expression, const char* file, int line) {
  std::string_view path(file);
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  fail(Status::kInternal, "defect in dsv3: ", expression, " is false at ", path, ":", line);
}

}  // namespace dsv3
