#include "ops/ops_fixture.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/random.h"
#include "cuda/cuda_machine.h"
#include "cuda/gpu_runtime.h"
#include "ops/round_trip_ops.h"

namespace dsv3::ops_test {
namespace {

// Toward zero; what F16 cannot hold normally becomes a subnormal or zero.
uint16_t f16_from(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7e00u;
  if (magnitude > 65504.0) return sign | 0x7c00u;
  if (magnitude < 0x1p-14) return sign | static_cast<uint16_t>(magnitude * 0x1p24);
  int exponent = 0;
  const double fraction = std::frexp(magnitude, &exponent);  // [0.5, 1)
  const auto mantissa = static_cast<uint16_t>((fraction * 2.0 - 1.0) * 1024.0);
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) | mantissa);
}

}  // namespace

uint64_t Random::bits() {
  state_ += 0x9e3779b97f4a7c15ull;
  return mix64(state_);
}

double Random::uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

double Random::normal() {
  double sum = 0.0;
  for (int i = 0; i < 4; ++i) sum += uniform();
  return (sum - 2.0) * std::sqrt(3.0);
}

Matrix::Matrix(DType dtype, uint32_t rows, uint32_t cols)
    : dtype_(dtype), rows_(rows), cols_(cols), stride_(cols + 3) {
  const uint64_t element = dtype_bits(dtype) / 8;
  bytes_.resize((1 + rows * stride_) * element, std::byte{0x7f});  // NaN in every format's padding
  for (uint32_t r = 0; r < rows; ++r) std::memset(at(r, 0), 0, cols * element);
  if (dtype == DType::kF8E4M3) {
    scales_.resize(size_t{ceil_div(rows, kBlock)} * (ceil_div(cols, kBlock) + 1), 1.0f);
  }
}

Matrix Matrix::random(Random& random, DType dtype, uint32_t rows, uint32_t cols, double magnitude) {
  Matrix matrix(dtype, rows, cols);
  const bool is_f8 = dtype == DType::kF8E4M3;
  for (float& scale : matrix.scales_) {
    scale = static_cast<float>(magnitude * (0.2 + random.uniform()) / 40.0);
  }
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < cols; ++c) {
      if (!is_f8) {
        matrix.set(r, c, random.normal() * magnitude);
        continue;
      }
      // Some of every code: subnormals and the largest among them.
      auto byte = random.below(8) == 0 ? static_cast<uint8_t>(random.below(256))
                                       : e4m3_from_float(static_cast<float>(random.normal() * 40));
      if ((byte & 0x7fu) == 0x7fu) byte = 0;
      *matrix.at(r, c) = std::byte{byte};
    }
  }
  return matrix;
}

const std::byte* Matrix::at(uint32_t row, uint32_t col) const {
  return bytes_.data() + (1 + row * stride_ + col) * (dtype_bits(dtype_) / 8);
}
std::byte* Matrix::at(uint32_t row, uint32_t col) {
  return bytes_.data() + (1 + row * stride_ + col) * (dtype_bits(dtype_) / 8);
}

void Matrix::set(uint32_t row, uint32_t col, double value) {
  const auto number = static_cast<float>(value);
  if (dtype_ == DType::kF32) {
    std::memcpy(at(row, col), &number, 4);
    return;
  }
  const uint16_t bits = dtype_ == DType::kBF16 ? bf16_from_float(number) : f16_from(value);
  std::memcpy(at(row, col), &bits, 2);
}

double Matrix::get(uint32_t row, uint32_t col) const {
  if (dtype_ == DType::kF8E4M3) {
    const size_t block = size_t{row} / kBlock * (ceil_div(cols_, kBlock) + 1) + col / kBlock;
    const double code = e4m3_to_float(std::to_integer<uint8_t>(*at(row, col)));
    return code * static_cast<double>(scales_[block]);
  }
  if (dtype_ == DType::kF32) {
    float number = 0.0f;
    std::memcpy(&number, at(row, col), 4);
    return number;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at(row, col), 2);
  return dtype_ == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
}

Values Matrix::values() const {
  Values out;
  out.reserve(size_t{rows_} * cols_);
  for (uint32_t r = 0; r < rows_; ++r) {
    for (uint32_t c = 0; c < cols_; ++c) out.push_back(get(r, c));
  }
  return out;
}

Values Matrix::row_values(uint32_t row) const {
  Values out;
  for (uint32_t c = 0; c < cols_; ++c) out.push_back(get(row, c));
  return out;
}

Rows Matrix::rows() { return rows(0, rows_); }
ConstRows Matrix::rows() const { return rows(0, rows_); }
ConstRows Matrix::rows(uint32_t begin, uint32_t count) const {
  return {at(begin, 0), dtype_, count, cols_, stride_};
}
Rows Matrix::rows(uint32_t begin, uint32_t count) {
  return {at(begin, 0), dtype_, count, cols_, stride_};
}

Weight Matrix::weight() const {
  Weight weight;
  weight.data = at(0, 0);
  weight.dtype = dtype_;
  weight.rows = rows_;
  weight.cols = cols_;
  weight.stride = stride_;
  if (!scales_.empty()) {
    weight.scales = scales_.data();
    weight.scale_stride = ceil_div(cols_, kBlock) + 1;
  }
  return weight;
}

bool Matrix::same_row(uint32_t row, const Matrix& other, uint32_t other_row) const {
  return cols_ == other.cols_ && dtype_ == other.dtype_ &&
         std::memcmp(at(row, 0), other.at(other_row, 0), cols_ * (dtype_bits(dtype_) / 8)) == 0;
}

bool Matrix::same_bits(const Matrix& other) const {
  if (rows_ != other.rows_) return false;
  for (uint32_t r = 0; r < rows_; ++r) {
    if (!same_row(r, other, r)) return false;
  }
  return true;
}

double sum_error(uint32_t terms, const OpsParam& param) {
  if (!param.is_cuda) return (terms / 8.0 + terms / 128.0 + 10.0) * kRoundF32;
  constexpr uint32_t kRuns = 8;
  const uint32_t blocks = ceil_div(terms, kBlock);
  const uint32_t additions = ceil_div(blocks, kRuns) + std::min(blocks, kRuns);
  return chain_error(std::min(terms, kBlock), param) + additions * kRoundF32;
}

double chain_error(uint32_t terms, const OpsParam& param) {
  if (!param.is_cuda) return sum_error(terms, param);
  return (2.0 * 17.0 / 16.0 * terms + 2.0) * kRoundF32;
}

void expect_close(const Values& actual, const Values& expected, const Values& bound,
                  const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  ASSERT_EQ(bound.size(), expected.size()) << what;
  double worst = 0.0;
  size_t where = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i]))
        << what << ": element " << i << " is " << actual[i] << ", wanted " << expected[i];
    if (std::isnan(expected[i])) continue;
    if (std::isinf(expected[i]) || std::isinf(actual[i])) {
      ASSERT_EQ(actual[i], expected[i]) << what << ": element " << i;
      continue;
    }
    const double error = std::fabs(actual[i] - expected[i]);
    const double ratio = error == 0.0 ? 0.0 : error / bound[i];
    if (ratio > worst) {
      worst = ratio;
      where = i;
    }
  }
  EXPECT_LE(worst, 1.0) << what << ": worst element " << where << " of " << actual.size() << " is "
                        << actual[where] << ", wanted " << expected[where] << " within "
                        << bound[where];
}

namespace {

// Compute capability of the first GPU, 90 for 9.0; 0: there is none.
int gpu_capability() {
  std::string why_none;
  gpu::Properties found;
  if (gpu::device_count(&why_none) == 0 || gpu::properties(0, &found) != 0) return 0;
  return found.major * 10 + found.minor;
}

std::unique_ptr<Ops> make_ops(const OpsParam& param, ThreadPool& pool, Allocator& allocator) {
  if (!param.is_cuda) return make_cpu_ops(pool, allocator, param.level, param.quant);
  return std::make_unique<RoundTripOps>(
      make_cuda_machine({.activation_quant = param.quant}, allocator));
}

}  // namespace

std::vector<OpsParam> all_ops() {
  std::vector<OpsParam> params;
  for (const CpuLevel level : {CpuLevel::kScalar, CpuLevel::kAvx2, CpuLevel::kAvx512Bf16}) {
    if (level > cpu_level_best()) continue;
    params.push_back({level, 1});
    params.push_back({level, 2});
    params.push_back({level, 2, ActivationQuant::k1x128});
  }
  if (gpu_capability() >= 80) params.push_back({.is_cuda = true});
  if (gpu_capability() >= 89) {
    params.push_back({.quant = ActivationQuant::k1x128, .is_cuda = true});
  }
  return params;
}

std::string ops_name(const ::testing::TestParamInfo<OpsParam>& info) {
  std::string name = "cuda";
  if (!info.param.is_cuda) {
    name = str(cpu_level_name(info.param.level), "_", info.param.threads);
    std::erase(name, '-');
  }
  return info.param.quant == ActivationQuant::k1x128 ? name + "_1x128" : name;
}

OpsLimits test_limits() {
  OpsLimits limits;
  limits.rows_max = 600;
  limits.sample_rows_max = 4;
  limits.positions_max = 1024;
  limits.linear_in_max = 7168;
  limits.expert_rows_max = 4096;
  limits.experts_max = 384;
  limits.vocab = 130000;
  limits.expert_width_max = 2048;
  limits.act = DType::kF32;  // the wider one: tests use both
  limits.mla = {.heads = 20, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512};
  return limits;
}

OpsBox::OpsBox(const OpsParam& param, const OpsLimits& limits)
    : pool(ThreadPoolOptions{.threads = param.threads, .affinity_mask = 0, .host = {}}),
      ops(make_ops(param, pool, allocator)) {
  ops->reserve(limits);
}

void Conformance::expect_contents_refused(const std::function<void()>& fn, const std::string& op,
                                          const std::string& argument) {
  if (!GetParam().is_cuda) expect_refused(fn, op, argument);
}

void expect_refused(const std::function<void()>& fn, const std::string& op,
                    const std::string& argument) {
  try {
    fn();
    ADD_FAILURE() << op << " took a wrong " << argument;
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kInternal) << error.message();
    EXPECT_EQ(error.message().rfind(op + ": ", 0), 0u) << error.message();
    EXPECT_NE(error.message().find(argument), std::string::npos) << error.message();
  }
}

}  // namespace dsv3::ops_test
