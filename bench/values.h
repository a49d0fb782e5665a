// Small things that every report needs: the spread of a few measurements, and text made of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dsv3::bench {

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
