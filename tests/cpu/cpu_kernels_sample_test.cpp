// Goal: the loops of sampling treat whatever is not finite as -inf, at every place of every length,
// and leave alone what lies behind. Method: each level against the definitions, written out here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "cpu/cpu_kernels.h"
#include "cpu/cpu_ops.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kBehind = 12345.0f;

std::vector<const CpuKernels*> tables() {
  std::vector<const CpuKernels*> out = {cpu_kernels_scalar()};
  if (cpu_level_best() >= CpuLevel::kAvx2) out.push_back(cpu_kernels_avx2());
  if (cpu_level_best() >= CpuLevel::kAvx512Bf16) out.push_back(cpu_kernels_avx512());
  return out;
}

// Logits with ties and with every kind of number that is not finite.
std::vector<float> logits(uint32_t count, uint64_t seed) {
  std::vector<float> out;
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t bits = random_bits(seed, i);
    const float special[] = {kNan, -kNan, kInfinity, -kInfinity};
    out.push_back(bits % 5 == 0 ? special[bits / 5 % 4]
                                : static_cast<float>(bits / 5 % 64) * 0.25f - 20.0f);
  }
  return out;
}

float banned(float x) { return std::isfinite(x) ? x : -kInfinity; }

TEST(CpuKernelsSample, MaximumAndCopyOfFiniteNumbers) {
  for (const CpuKernels* table : tables()) {
    for (uint32_t count = 0; count < 150; ++count) {
      const std::vector<float> x = logits(count, count);
      float wanted = -kInfinity;
      for (const float value : x) wanted = std::max(wanted, banned(value));
      EXPECT_EQ(table->max_finite(x.data(), count), wanted) << table->name << ' ' << count;
      std::vector<float> out(count + 1, kBehind);
      table->keep_finite(x.data(), count, out.data());
      for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(out[i], banned(x[i])) << table->name;
      EXPECT_EQ(out[count], kBehind) << table->name << ' ' << count;
    }
  }
}

TEST(CpuKernelsSample, ExponentialsOfFiniteNumbers) {
  for (const CpuKernels* table : tables()) {
    for (uint32_t count = 0; count < 150; ++count) {
      std::vector<float> x = logits(count, count + 1000);
      std::vector<double> wanted;
      double sum = 0.0;
      for (const float value : x) {
        wanted.push_back(std::exp((static_cast<double>(banned(value)) + 4.0) * 0.75));
        sum += wanted.back();
      }
      const float alone = table->exp_finite(x.data(), count, -4.0f, 0.75f, nullptr);
      EXPECT_NEAR(static_cast<double>(alone), sum, 2e-6 * sum) << table->name << ' ' << count;
      x.push_back(kBehind);
      EXPECT_EQ(table->exp_finite(x.data(), count, -4.0f, 0.75f, x.data()), alone);
      for (uint32_t i = 0; i < count; ++i) {
        ASSERT_NEAR(static_cast<double>(x[i]), wanted[i], 1e-6 * wanted[i]) << table->name;
      }
      EXPECT_EQ(x[count], kBehind) << table->name << ' ' << count;
    }
  }
}

TEST(CpuKernelsSample, FindsAllAtLeast) {
  for (const CpuKernels* table : tables()) {
    for (uint32_t count = 0; count < 150; ++count) {
      const std::vector<float> x = logits(count, count + 2000);
      for (const float limit : {-30.0f, -10.0f, -4.25f, 30.0f}) {
        std::vector<uint32_t> wanted;
        for (uint32_t i = 0; i < count; ++i) {
          if (x[i] >= limit) wanted.push_back(i);
        }
        std::vector<uint32_t> found(count + 1);
        found.resize(table->find_at_least(x.data(), count, limit, found.data()));
        EXPECT_EQ(found, wanted) << table->name << ' ' << count << ' ' << limit;
      }
    }
  }
}

}  // namespace
}  // namespace dsv3
