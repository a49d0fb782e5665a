// The primitive loops in plain C++: the level that explains the others and runs anywhere.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/cpu_kernels.h"

namespace dsv3 {
namespace {

// One reader per row format: element type and its exact value.
struct ReadBF16 {
  using Element = uint16_t;
  static float value(uint16_t bits) { return bf16_to_float(bits); }
};
struct ReadF16 {
  using Element = uint16_t;
  static float value(uint16_t bits) { return f16_to_float(bits); }
};
struct ReadF32 {
  using Element = float;
  static float value(float number) { return number; }
};
struct ReadF8 {
  using Element = uint8_t;
  static float value(uint8_t byte) { return e4m3_table()[byte]; }
};

// Eight running sums (columns k, k + 8, ...) added pairwise at the end: several times more accurate
// and faster than one running sum, and still an order that depends on nothing but the row.
constexpr uint32_t kSums = 8;

struct Sums {
  float lane[kSums] = {};

  float total() const {
    float half[4];
    for (uint32_t i = 0; i < 4; ++i) half[i] = lane[i] + lane[i + 4];
    return (half[0] + half[2]) + (half[1] + half[3]);
  }
};

template <typename Read>
Sums dot(const typename Read::Element* w, const float* x, uint32_t count) {
  Sums sums;
  uint32_t k = 0;
  for (; k + kSums <= count; k += kSums) {
    for (uint32_t i = 0; i < kSums; ++i) sums.lane[i] += Read::value(w[k + i]) * x[k + i];
  }
  for (uint32_t i = 0; k + i < count; ++i) sums.lane[i] += Read::value(w[k + i]) * x[k + i];
  return sums;
}

void put(const PanelArgs& args, uint32_t r, uint32_t o, float value) {
  if (args.y_rows != nullptr) {
    args.y_rows[r][o] = bf16_from_float(value);
  } else {
    args.y[r * args.y_stride + o] = value;
  }
}

template <typename Read>
void panel(const PanelArgs& args) {
  const WeightRows& weight = args.weight;
  const auto* rows = static_cast<const typename Read::Element*>(weight.data);
  for (uint32_t o = 0; o < weight.rows; ++o) {
    for (uint32_t r = 0; r < args.x_rows; ++r) {
      const auto* x = static_cast<const float*>(args.x[r]);
      put(args, r, o, dot<Read>(rows + o * weight.stride, x, weight.cols).total());
    }
  }
}

// As panel; the sum of each 128 columns is multiplied by its block's scale, and by the scale of the
// row's block when that is quantised too (spec §4.5).
template <typename Read, bool kCodes>
void panel_scaled(const PanelArgs& args) {
  const WeightRows& weight = args.weight;
  const auto* rows = static_cast<const typename Read::Element*>(weight.data);
  for (uint32_t o = 0; o < weight.rows; ++o) {
    const auto* w = rows + o * weight.stride;
    const float* scales = weight.scales + (weight.first_row + o) / kBlock * weight.scale_stride;
    for (uint32_t r = 0; r < args.x_rows; ++r) {
      const auto* x = static_cast<const float*>(args.x[r]);
      float sum = 0.0f;
      for (uint32_t begin = 0; begin < weight.cols; begin += kBlock) {
        const uint32_t left = weight.cols - begin;
        const Sums block = dot<Read>(w + begin, x + begin, left < kBlock ? left : kBlock);
        float scale = scales[begin / kBlock];
        if constexpr (kCodes) scale *= args.x_scales[r * args.x_scale_stride + begin / kBlock];
        sum += block.total() * scale;
      }
      put(args, r, o, sum);
    }
  }
}

template <typename Read>
void to_f32(const void* src, uint32_t count, float* dst) {
  const auto* from = static_cast<const typename Read::Element*>(src);
  for (uint32_t i = 0; i < count; ++i) dst[i] = Read::value(from[i]);
}

void to_bf16(const float* src, uint32_t count, uint16_t* dst) {
  for (uint32_t i = 0; i < count; ++i) dst[i] = bf16_from_float(src[i]);
}

void f8_to_bf16(const uint8_t* src, uint32_t count, uint16_t* dst) {
  for (uint32_t i = 0; i < count; ++i) dst[i] = bf16_from_float(ReadF8::value(src[i]));
}

// See ToE4m3 of cpu_kernels_vector.h. A NaN passes both bounds.
void to_e4m3(const float* x, uint32_t count, float scale, float* out) {
  for (uint32_t i = 0; i < count; ++i) {
    float q = x[i] / scale;
    if (q > 448.0f) q = 448.0f;
    if (q < -448.0f) q = -448.0f;
    const float binade = std::bit_cast<float>(std::bit_cast<uint32_t>(q) & 0x7f800000u);
    const float magic = (binade > 0x1p-6f ? binade : 0x1p-6f) * 0x1.8p20f;
    out[i] = (q + magic) - magic;
  }
}

template <typename Read>
void weighted_sum(const float* coef, uint32_t row_count, const void* rows, uint64_t stride,
                  uint32_t count, float* acc) {
  const auto* row = static_cast<const typename Read::Element*>(rows);
  for (uint32_t j = 0; j < row_count; ++j, row += stride) {
    for (uint32_t i = 0; i < count; ++i) acc[i] += coef[j] * Read::value(row[i]);
  }
}

float max_of(const float* x, uint32_t count) {
  float best = x[0];
  for (uint32_t i = 1; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

float max_abs(const float* x, uint32_t count) {
  float best = 0.0f;
  for (uint32_t i = 0; i < count; ++i) best = std::fabs(x[i]) > best ? std::fabs(x[i]) : best;
  return best;
}

float sum_squares(const float* x, uint32_t count) { return dot<ReadF32>(x, x, count).total(); }

float exp_sum(float* x, uint32_t count, float shift) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < count; ++i) {
    x[i] = std::exp(x[i] - shift);
    sum += x[i];
  }
  return sum;
}

void scale(float* x, uint32_t count, float factor) {
  for (uint32_t i = 0; i < count; ++i) x[i] *= factor;
}

void add(const float* x, uint32_t count, float* acc) {
  for (uint32_t i = 0; i < count; ++i) acc[i] += x[i];
}

void mul_scaled(const float* x, const float* weight, float factor, uint32_t count, float* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = weight[i] * (x[i] * factor);
}

void silu_mul(const float* gate, const float* up, uint32_t count, float* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void silu_mul_bf16(const uint16_t* gate, const uint16_t* up, uint32_t count, uint16_t* out) {
  for (uint32_t i = 0; i < count; ++i) {
    const float g = bf16_to_float(gate[i]);
    out[i] = bf16_from_float(g / (1.0f + std::exp(-g)) * bf16_to_float(up[i]));
  }
}

float widen_squares(const uint16_t* x, uint32_t count, float* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = bf16_to_float(x[i]);
  return sum_squares(out, count);
}

float add_bf16(const uint16_t* h, uint16_t* residual, uint32_t count, float* sum) {
  if (h == nullptr) return widen_squares(residual, count, sum);
  for (uint32_t i = 0; i < count; ++i) {
    sum[i] = bf16_to_float(residual[i]) + bf16_to_float(h[i]);
    residual[i] = bf16_from_float(sum[i]);
  }
  return sum_squares(sum, count);
}

void mul_scaled_bf16(const float* x, const float* weight, float factor, uint32_t count,
                     uint16_t* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = bf16_from_float(weight[i] * (x[i] * factor));
}

void combine_bf16(const CombineArgs& args) {
  for (uint32_t i = 0; i < args.count; ++i) {
    float sum = 0.0f;
    for (uint32_t j = 0; j < args.row_count; ++j) {
      sum += args.coef[j] * bf16_to_float(args.rows[j * args.stride + i]);
    }
    if (args.shared != nullptr) sum += bf16_to_float(args.shared[i]);
    args.out[i] = bf16_from_float(sum);
  }
}

void rotate(float* x, uint32_t pairs, const float* cosines, const float* sines) {
  for (uint32_t i = 0; i < pairs; ++i) {
    float* pair = x + size_t{2} * i;
    const float even = pair[0];
    const float odd = pair[1];
    pair[0] = even * cosines[i] - odd * sines[i];
    pair[1] = even * sines[i] + odd * cosines[i];
  }
}

void rotate_bf16(const RotateArgs& args) {
  for (uint32_t r = 0; r < args.rows; ++r) {
    for (uint32_t i = 0; i < args.pairs; ++i) {
      uint16_t* from = args.x + r * args.stride + size_t{2} * i;
      float pair[2] = {bf16_to_float(from[0]), bf16_to_float(from[1])};
      rotate(pair, 1, args.cosines + i, args.sines + i);
      to_bf16(pair, 2, from);
    }
  }
}

uint32_t route_scores(const float* logits, const float* bias, uint32_t count, float* scores,
                      float* choice) {
  uint32_t nans = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const bool is_nan = std::isnan(logits[i]);
    scores[i] = is_nan ? 0.0f : 1.0f / (1.0f + std::exp(-logits[i]));
    const float biased = scores[i] + (bias != nullptr ? bias[i] : 0.0f);
    choice[i] = is_nan || std::isnan(biased) ? -std::numeric_limits<float>::infinity() : biased;
    nans += is_nan ? 1 : 0;
  }
  return nans;
}

// What was taken becomes NaN.
void largest(float* x, uint32_t size, uint32_t count, int32_t* ids) {
  for (uint32_t k = 0; k < count; ++k) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < size; ++i) {
      if (x[i] > x[best] || (std::isnan(x[best]) && !std::isnan(x[i]))) best = i;
    }
    ids[k] = static_cast<int32_t>(best);
    x[best] = std::numeric_limits<float>::quiet_NaN();
  }
}

float finite_or_banned(float x) {
  return std::isfinite(x) ? x : -std::numeric_limits<float>::infinity();
}

float max_finite(const float* x, uint32_t count) {
  float best = -std::numeric_limits<float>::infinity();
  for (uint32_t i = 0; i < count; ++i) best = finite_or_banned(x[i]) > best ? x[i] : best;
  return best;
}

void keep_finite(const float* x, uint32_t count, float* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = finite_or_banned(x[i]);
}

float exp_finite(const float* x, uint32_t count, float shift, float factor, float* out) {
  double sum = 0.0;
  for (uint32_t i = 0; i < count; ++i) {
    const float value = std::exp((finite_or_banned(x[i]) - shift) * factor);
    if (out != nullptr) out[i] = value;
    sum += static_cast<double>(value);
  }
  return static_cast<float>(sum);
}

uint32_t find_at_least(const float* x, uint32_t count, float at_least, uint32_t* indices) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (x[i] >= at_least) indices[found++] = i;
  }
  return found;
}

}  // namespace

const CpuKernels* cpu_kernels_scalar() {
  static constexpr CpuKernels kTable{
      .level = CpuLevel::kScalar,
      .name = "scalar",
      .panel_f32 = {panel<ReadBF16>, panel<ReadF16>, panel<ReadF32>, panel_scaled<ReadF8, false>,
                    panel_scaled<ReadBF16, false>},
      .panel_bf16 = {},
      .panel_codes = {nullptr, nullptr, nullptr, panel_scaled<ReadF8, true>,
                      panel_scaled<ReadBF16, true>},
      .to_f32 = {to_f32<ReadBF16>, to_f32<ReadF16>, to_f32<ReadF32>, to_f32<ReadF8>},
      .to_bf16 = to_bf16,
      .f8_to_bf16 = f8_to_bf16,
      .to_e4m3 = to_e4m3,
      .weighted_sum = {weighted_sum<ReadBF16>, weighted_sum<ReadF16>, weighted_sum<ReadF32>,
                       weighted_sum<ReadF8>},
      .max = max_of,
      .max_abs = max_abs,
      .sum_squares = sum_squares,
      .exp_sum = exp_sum,
      .scale = scale,
      .add = add,
      .mul_scaled = mul_scaled,
      .silu_mul = silu_mul,
      .silu_mul_bf16 = silu_mul_bf16,
      .add_bf16 = add_bf16,
      .widen_squares = widen_squares,
      .mul_scaled_bf16 = mul_scaled_bf16,
      .combine_bf16 = combine_bf16,
      .rotate_bf16 = rotate_bf16,
      .rotate = rotate,
      .route_scores = route_scores,
      .largest = largest,
      .max_finite = max_finite,
      .keep_finite = keep_finite,
      .exp_finite = exp_finite,
      .find_at_least = find_at_least,
  };
  return &kTable;
}

}  // namespace dsv3
