// Small things that several files need: numbers out of words, the spread of a few measurements,
// text made of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::bench {

// The whole of `text` as a decimal number; none if it is not one.
std::optional<uint32_t> whole_number(std::string_view text);

struct Spread {
  double median = 0.0;
  double min = 0.0;
  double max = 0.0;
};
// Of at least one value.
Spread spread(std::vector<double> values);

// printf into a string, of 500 bytes at most.
__attribute__((format(printf, 1, 2))) std::string print(const char* format, ...);

// `text` as a JSON string, quotes included.
std::string json_string(std::string_view text);

}  // namespace dsv3::bench
