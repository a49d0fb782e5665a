// Do the vector functions of a level agree with the scalar definitions? Conversions bit by bit over
// their whole range, tails of every length, and that a panel's element ignores its neighbours.
#include "cpu/cpu_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "cpu/cpu_ops.h"

namespace dsv3 {
namespace {

class CpuKernelsTest : public testing::TestWithParam<CpuLevel> {
 protected:
  static const CpuKernels& kernels() {
    switch (GetParam()) {
      case CpuLevel::kAvx2:
        return *cpu_kernels_avx2();
      case CpuLevel::kAvx512Bf16:
        return *cpu_kernels_avx512();
      default:
        return *cpu_kernels_scalar();
    }
  }
};

std::vector<CpuLevel> levels() {
  std::vector<CpuLevel> out;
  for (const CpuLevel level : {CpuLevel::kScalar, CpuLevel::kAvx2, CpuLevel::kAvx512Bf16}) {
    if (level <= cpu_level_best()) out.push_back(level);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuKernelsTest, testing::ValuesIn(levels()));

// NaN payloads aside.
bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof(a)) == 0;
}

TEST_P(CpuKernelsTest, EveryHalfAndEveryE4m3BecomesItsExactFloat) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> out(halves.size());
  kernels().to_f32[static_cast<size_t>(RowFormat::kF16)](halves.data(), 65536, out.data());
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_TRUE(same(out[i], f16_to_float(halves[i]))) << "f16 " << i;
  }
  kernels().to_f32[static_cast<size_t>(RowFormat::kBF16)](halves.data(), 65536, out.data());
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_TRUE(same(out[i], bf16_to_float(halves[i]))) << "bf16 " << i;
  }
  std::vector<uint8_t> bytes(256);
  for (size_t i = 0; i < 256; ++i) bytes[i] = static_cast<uint8_t>(i);
  std::vector<uint16_t> bf16(256);
  kernels().to_f32[static_cast<size_t>(RowFormat::kF8)](bytes.data(), 256, out.data());
  kernels().f8_to_bf16(bytes.data(), 256, bf16.data());
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_TRUE(same(out[i], e4m3_to_float(bytes[i]))) << "e4m3 " << i;
    EXPECT_TRUE(same(bf16_to_float(bf16[i]), e4m3_to_float(bytes[i]))) << "e4m3 " << i;
  }
}

TEST_P(CpuKernelsTest, RoundsToBf16AsTheScalarFunction) {
  std::vector<float> in;
  for (uint64_t i = 0; i < 200000; ++i) {
    const auto bits = static_cast<uint32_t>(random_bits(1, i));
    in.push_back(std::bit_cast<float>(bits));
    in.push_back(std::bit_cast<float>((bits & 0xffff0000u) | 0x8000u));  // ties
  }
  for (const uint32_t special : {0x7f800000u, 0xff800000u, 0x7f7fffffu, 0x00000001u, 0x7f800001u,
                                 0xffffffffu, 0x80000000u}) {
    in.push_back(std::bit_cast<float>(special));
  }
  std::vector<uint16_t> out(in.size());
  kernels().to_bf16(in.data(), static_cast<uint32_t>(in.size()), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    ASSERT_TRUE(same(bf16_to_float(out[i]), bf16_round(in[i]))) << std::bit_cast<uint32_t>(in[i]);
  }
}

TEST_P(CpuKernelsTest, RoundsToE4m3AsTheScalarFunction) {
  std::vector<float> in;
  for (uint32_t step = 0; step <= 2 * 448 * 16; ++step) {  // all values, ties and their neighbours
    const float value = static_cast<float>(step) / 32.0f;
    for (const float small : {value, value * 0x1p-8f, value * 0x1p-14f}) {
      for (const float x : {small, std::nextafterf(small, 1e9f), std::nextafterf(small, 0.0f)}) {
        in.push_back(x);
        in.push_back(-x);
      }
    }
  }
  for (uint64_t i = 0; i < 20000; ++i) {
    in.push_back(std::bit_cast<float>(static_cast<uint32_t>(random_bits(4, i))));
  }
  for (const uint32_t special : {0x7f800000u, 0xff800000u, 0x7f7fffffu, 0x00000001u, 0x7fc00000u}) {
    in.push_back(std::bit_cast<float>(special));
  }
  for (const float scale : {1.0f, 0.37f, 0x1p-22f}) {
    std::vector<float> out(in.size());
    kernels().to_e4m3(in.data(), static_cast<uint32_t>(in.size()), scale, out.data());
    for (size_t i = 0; i < in.size(); ++i) {
      const float wanted = e4m3_to_float(e4m3_from_float(in[i] / scale));
      if (std::isnan(wanted)) {
        ASSERT_TRUE(std::isnan(out[i])) << in[i];
      } else {
        ASSERT_EQ(out[i], wanted) << in[i] << " / " << scale;
      }
    }
  }
}

TEST_P(CpuKernelsTest, LargestMagnitudePassesOverNan) {
  for (uint32_t count = 0; count <= 70; ++count) {
    std::vector<float> x(count + 1, -999.0f);
    for (uint32_t i = 0; i < count; ++i) x[i] = static_cast<float>(i) * (i % 2 == 0 ? 1.0f : -1.0f);
    EXPECT_EQ(kernels().max_abs(x.data(), count),
              count == 0 ? 0.0f : static_cast<float>(count - 1));
    if (count < 2) continue;
    x[0] = std::numeric_limits<float>::quiet_NaN();
    x[count / 2] = std::numeric_limits<float>::quiet_NaN();
    const bool last_gone = count / 2 == count - 1;
    EXPECT_EQ(kernels().max_abs(x.data(), count), static_cast<float>(last_gone ? 0 : count - 1));
  }
}

TEST_P(CpuKernelsTest, TailsOfEveryLengthStayInTheirArray) {
  for (uint32_t count = 0; count <= 70; ++count) {
    std::vector<uint16_t> source(count);
    for (uint32_t i = 0; i < count; ++i) {
      source[i] = bf16_from_float(static_cast<float>(i) - 20.0f);
    }
    std::vector<float> wide(count + 1, -77.0f);
    kernels().to_f32[0](source.data(), count, wide.data());
    std::vector<uint16_t> back(count + 1, 0x1234);
    kernels().to_bf16(wide.data(), count, back.data());
    EXPECT_EQ(wide[count], -77.0f);
    EXPECT_EQ(back[count], 0x1234);
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(wide[i], static_cast<float>(i) - 20.0f);
      EXPECT_EQ(back[i], source[i]);
    }
    const std::vector<uint8_t> bytes(count, 0x38);  // 1.0
    kernels().f8_to_bf16(bytes.data(), count, back.data());
    EXPECT_EQ(back[count], 0x1234);
    std::vector<float> rounded(count + 1, -77.0f);
    kernels().to_e4m3(wide.data(), count, 1.0f, rounded.data());
    EXPECT_EQ(rounded[count], -77.0f);
    kernels().scale(wide.data(), count, 2.0f);
    kernels().add(wide.data(), count, wide.data());
    EXPECT_EQ(wide[count], -77.0f);
    float squares = 0.0f;
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(wide[i], (static_cast<float>(i) - 20.0f) * 4.0f);
      squares += wide[i] * wide[i];
    }
    EXPECT_EQ(kernels().sum_squares(wide.data(), count), squares);  // small integers: exact
    if (count > 0) {
      EXPECT_EQ(kernels().max(wide.data(), count), (static_cast<float>(count - 1) - 20.0f) * 4.0f);
    }
  }
}

TEST_P(CpuKernelsTest, SiluOfBf16IsTheRoundedSiluOfFloats) {
  for (uint32_t count = 0; count <= 70; ++count) {
    std::vector<uint16_t> gate(count);
    std::vector<uint16_t> up(count);
    for (uint32_t i = 0; i < count; ++i) {
      gate[i] = bf16_from_float(static_cast<float>(random_unit(5, i)) * 20.0f - 10.0f);
      up[i] = bf16_from_float(static_cast<float>(random_unit(6, i)) - 0.5f);
    }
    std::vector<float> gate_f32(count);
    std::vector<float> up_f32(count);
    kernels().to_f32[0](gate.data(), count, gate_f32.data());
    kernels().to_f32[0](up.data(), count, up_f32.data());
    kernels().silu_mul(gate_f32.data(), up_f32.data(), count, gate_f32.data());
    std::vector<uint16_t> out(count + 1, 0x1234);
    kernels().silu_mul_bf16(gate.data(), up.data(), count, out.data());
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(out[i], bf16_from_float(gate_f32[i])) << i << " of " << count;
    }
    EXPECT_EQ(out[count], 0x1234);
  }
}

TEST_P(CpuKernelsTest, ExponentialOverItsRange) {
  std::vector<float> x;
  for (float value = -110.0f; value < 89.0f; value += 0.0371f) x.push_back(value);
  for (const float edge :
       {0.0f, -0.0f, 88.72f, 89.0f, 1e30f, -1e30f, -87.3f, -87.4f,
        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    x.push_back(edge);
  }
  std::vector<float> out = x;
  kernels().exp_sum(out.data(), static_cast<uint32_t>(out.size()), 0.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    const double wanted = std::exp(static_cast<double>(x[i]));
    if (wanted > static_cast<double>(std::numeric_limits<float>::max())) {
      EXPECT_TRUE(std::isinf(out[i])) << x[i];
    } else {
      // Two units in the last place; results below the normal numbers may be zero.
      EXPECT_NEAR(static_cast<double>(out[i]), wanted, wanted * 0x1p-22 + 2e-38) << x[i];
    }
  }
  float nan[3] = {1.0f, std::numeric_limits<float>::quiet_NaN(), 2.0f};
  EXPECT_TRUE(std::isnan(kernels().exp_sum(nan, 3, 2.0f)));
  EXPECT_TRUE(std::isnan(nan[1]));
  EXPECT_EQ(nan[2], 1.0f);
}

struct PanelKind {
  const PanelFn* by_format;
  bool x_is_bf16;
};

TEST_P(CpuKernelsTest, APanelElementIgnoresItsNeighbours) {
  constexpr uint32_t kRows = 11;
  constexpr uint32_t kOuts = 23;
  const PanelKind kinds[] = {{kernels().panel_f32, false},
                             {kernels().panel_bf16, true},
                             {kernels().panel_codes, kernels().code_dtype == DType::kBF16}};
  for (const uint32_t cols : {1u, 31u, 64u, 131u, 300u}) {
    for (uint32_t format = 0; format < kRowFormatCount; ++format) {
      for (const auto& [by_format, is_bf16] : kinds) {
        const PanelFn panel = by_format[format];
        if (panel == nullptr) continue;
        std::vector<uint32_t> weight(kOuts * cols);
        for (size_t i = 0; i < weight.size(); ++i) {
          // Small numbers in each of the four formats.
          const auto bits = static_cast<uint32_t>(random_bits(2, i));
          weight[i] = (bits & 0x81ff81ffu) | 0x3c003c00u;
        }
        std::vector<float> scales(3 * 3, 0.75f);
        std::vector<float> x_scales(kRows * 4);
        for (size_t i = 0; i < x_scales.size(); ++i) x_scales[i] = 0.1f * static_cast<float>(i + 1);
        std::vector<float> x(kRows * cols);
        for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_unit(3, i)) - 0.5f;
        std::vector<uint16_t> x_bf16(x.size());
        for (size_t i = 0; i < x.size(); ++i) x_bf16[i] = bf16_from_float(x[i]);
        std::vector<const void*> rows;
        for (uint32_t r = 0; r < kRows; ++r) {
          rows.push_back(is_bf16 ? static_cast<const void*>(&x_bf16[r * cols])
                                 : static_cast<const void*>(&x[r * cols]));
        }
        PanelArgs args{.weight = {.data = weight.data(),
                                  .stride = cols,
                                  .format = static_cast<RowFormat>(format),
                                  .rows = kOuts,
                                  .cols = cols,
                                  .scales = scales.data(),
                                  .scale_stride = 3},
                       .x = rows.data(),
                       .x_rows = kRows,
                       .x_scales = x_scales.data(),
                       .x_scale_stride = 4};
        std::vector<float> whole(kRows * kOuts);
        args.y = whole.data();
        args.y_stride = kOuts;
        panel(args);
        // The same as BF16, and with a hint that leads nowhere.
        std::vector<uint16_t> rounded(kRows * kOuts);
        std::vector<uint16_t*> y_rows;
        for (uint32_t r = 0; r < kRows; ++r) y_rows.push_back(&rounded[r * kOuts]);
        PanelArgs as_bf16 = args;
        as_bf16.y_rows = y_rows.data();
        as_bf16.next = weight.data();
        panel(as_bf16);
        for (size_t i = 0; i < rounded.size(); ++i) {
          EXPECT_TRUE(same(bf16_to_float(rounded[i]), bf16_round(whole[i]))) << "format " << format;
        }
        for (uint32_t r = 0; r < kRows; ++r) {
          std::vector<float> alone(kOuts);
          args.x = &rows[r];
          args.x_rows = 1;
          args.x_scales = &x_scales[r * 4];
          args.y = alone.data();
          panel(args);
          for (uint32_t o = 0; o < kOuts; ++o) {
            EXPECT_TRUE(same(alone[o], whole[r * kOuts + o])) << "format " << format;
          }
        }
      }
    }
  }
}

TEST(CpuOpsTest, RefusesALevelTheProcessorLacksAndNamesItself) {
  Allocator allocator({}, 0);
  ThreadPool pool(ThreadPoolOptions{});
  const auto ops = make_cpu_ops(pool, allocator, CpuLevel::kScalar);
  EXPECT_EQ(ops->description(), "cpu scalar, 1 thread");
  if (cpu_level_best() == CpuLevel::kAvx512Bf16) return;
  EXPECT_THROW(make_cpu_ops(pool, allocator, CpuLevel::kAvx512Bf16), Error);
}

TEST(CpuOpsTest, ScratchIsWhatReserveTakesAndAFailureKeepsTheOld) {
  OpsLimits limits;
  limits.rows_max = 20;
  limits.sample_rows_max = 2;
  limits.linear_in_max = 96;
  limits.expert_rows_max = 40;
  limits.experts_max = 8;
  limits.vocab = 100;
  limits.mla = {.heads = 2, .nope_dim = 8, .rope_dim = 4, .value_dim = 8, .latent_rank = 16};
  Allocator allocator({}, 1u << 20);
  ThreadPool pool(ThreadPoolOptions{});
  const auto ops = make_cpu_ops(pool, allocator, CpuLevel::kScalar);
  ops->reserve(limits);
  EXPECT_EQ(allocator.bytes_held(), ops->scratch_bytes(limits));
  const uint64_t before = allocator.bytes_held();
  OpsLimits huge = limits;
  huge.linear_in_max = 1u << 20;
  EXPECT_THROW(ops->reserve(huge), Error);
  EXPECT_EQ(allocator.bytes_held(), before);
  const float logits[3] = {0.0f, 2.0f, 1.0f};
  const SampleRow row;
  SampleResult result;
  ops->sample({.logits = {logits, DType::kF32, 1, 3, 3}, .rows = &row, .results = &result});
  EXPECT_EQ(result.token, 1);
}

}  // namespace
}  // namespace dsv3
