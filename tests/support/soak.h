// Campaigns run with the same seeds in every test run, and with others in `./dev soak`.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace dsv3::test {

// Added to the seeds of a campaign: 0, or a new range for each round of ./dev soak, which names the
// round that failed.
inline uint32_t soak_seeds() {
  const char* const round = std::getenv("DSV3_SOAK_ROUND");
  return round == nullptr ? 0 : static_cast<uint32_t>(std::strtoul(round, nullptr, 10)) * 100'000;
}

}  // namespace dsv3::test
