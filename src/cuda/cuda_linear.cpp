// Which kernel multiplies rows by a weight, and when are the rows quantised first?
#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "cuda/cuda_ops_impl.h"
#include "kernels/quantise.h"

namespace dsv3 {
namespace {

using kernels::LinearTile;

constexpr uint64_t kRowAlignment = 16;  // bytes, of every row that kernels copy by cp.async

void check_aligned(const char* argument, const void* data, uint64_t rows, uint64_t stride_bytes) {
  const bool holds = reinterpret_cast<uintptr_t>(data) % kRowAlignment == 0 &&
                     (rows <= 1 || stride_bytes % kRowAlignment == 0);
  if (!holds) {
    fail(Status::kInternal, "linear: ", argument, " at ", data, " with rows ", stride_bytes,
         " bytes apart found, wanted multiples of ", kRowAlignment);
  }
}

// Tensor cores take BF16 by BF16 or F8, and codes by F8.
bool has_tiles(DType x, bool is_quantised, DType weight) {
  if (is_quantised) return true;
  return x == DType::kBF16 && (weight == DType::kBF16 || weight == DType::kF8E4M3);
}

// The tile that keeps the GPU busiest; the results do not depend on it. Up to eight rows are one
// column of tensor-core tiles. Beyond, a tile must be large to read x and weight seldom, and small
// where there would be too few of them for all multiprocessors.
LinearTile choose_tile(uint32_t outs, uint32_t rows, uint32_t multiprocessors) {
  const auto tiles = [&](LinearTile tile) {
    const kernels::LinearTileShape shape = kernels::linear_tile_shape(tile);
    return uint64_t{ceil_div(outs, shape.outs)} * ceil_div(rows, shape.rows);
  };
  constexpr uint32_t kStreamRows = 32;  // four reads of the weight, three of them from L2
  if (rows <= kernels::linear_tile_shape(LinearTile::kStream).rows) return LinearTile::kStream;
  if (tiles(LinearTile::kLarge) >= multiprocessors) return LinearTile::kLarge;
  const bool fills_half = tiles(LinearTile::kSmall) * 2 >= multiprocessors;
  return fills_half || rows > kStreamRows ? LinearTile::kSmall : LinearTile::kStream;
}

ConstRows part_of(const ConstRows& x, uint32_t begin, uint32_t count) {
  const uint64_t element = dtype_bits(x.dtype) / 8;
  const auto* data = static_cast<const std::byte*>(x.data) + begin * x.stride * element;
  return {data, x.dtype, count, x.cols, x.stride};
}

Rows part_of(const Rows& y, uint32_t begin, uint32_t count) {
  const uint64_t element = dtype_bits(y.dtype) / 8;
  auto* data = static_cast<std::byte*>(y.data) + begin * y.stride * element;
  return {data, y.dtype, count, y.cols, y.stride};
}

}  // namespace

void check_rows_aligned(const kernels::LinearParams& params) {
  if (params.x_codes.codes != nullptr) {
    check_aligned("x_codes", params.x_codes.codes, params.x.rows, params.x_codes.stride);
    if (params.x.type != kernels::Type::kBF16) return;
  }
  check_aligned("x", params.x.data, params.x.rows, params.x.stride * sizeof(uint16_t));
}

LinearScratch LinearScratch::carve(Carver& carver, const OpsLimits& limits, ActivationQuant quant) {
  LinearScratch scratch;
  if (quant != ActivationQuant::k1x128) return scratch;
  const uint32_t width = std::max(limits.linear_in_max, limits.mla.latent_rank);
  scratch.blocks = std::max<uint64_t>(
      uint64_t{std::max(limits.rows_max, 1u)} * ceil_div(width, kBlock),
      uint64_t{limits.expert_rows_max} * ceil_div(limits.expert_width_max, kBlock));
  scratch.codes = carver.take<uint8_t>(scratch.blocks * kBlock);
  scratch.scales = carver.take<float>(scratch.blocks);
  return scratch;
}

uint64_t LinearScratch::rows_max(uint32_t cols) const { return blocks / ceil_div(cols, kBlock); }

QuantRows LinearScratch::rows(uint32_t cols) const {
  const uint64_t row_blocks = ceil_div(cols, kBlock);
  return {codes, scales, row_blocks * kBlock, row_blocks};
}

kernels::Codes CudaOps::quantise(const ConstRows& x) {
  const kernels::Codes codes = kernel_codes(scratch_.linear.rows(x.cols));
  if (x.rows > scratch_.linear.rows_max(x.cols)) {
    fail(Status::kInternal, "linear: ", x.rows, " rows of ", x.cols,
         " columns to quantise found, reserved ", scratch_.linear.blocks, " blocks of ", kBlock);
  }
  launched(kernels::launch_quantise_any({kernel_matrix(x), codes}, stream()), "quantise");
  return codes;
}

void CudaOps::multiply(const ConstRows& x, const QuantRows& x_codes, const Weight& weight,
                       const Rows& y) {
  const bool quantised = quant_ == ActivationQuant::k1x128 && weight.dtype == DType::kF8E4M3;
  if (quantised && !x_codes.present()) {
    // As many rows at a time as scratch memory holds: rows do not depend on each other.
    const uint64_t fitting = scratch_.linear.rows_max(x.cols);
    if (fitting == 0) quantise(x);  // refuses
    for (uint32_t begin = 0; begin < x.rows;) {
      const auto count = static_cast<uint32_t>(std::min<uint64_t>(fitting, x.rows - begin));
      const ConstRows part = part_of(x, begin, count);
      run_linear({.x = kernel_matrix(part),
                  .x_codes = quantise(part),
                  .weight = kernel_weights(weight),
                  .y = kernel_matrix(part_of(y, begin, count))});
      begin += count;
    }
    return;
  }
  run_linear({.x = kernel_matrix(x),
              .x_codes = quantised ? kernel_codes(x_codes) : kernels::Codes{},
              .weight = kernel_weights(weight),
              .y = kernel_matrix(y)});
}

void CudaOps::run_linear(const kernels::LinearParams& params) {
  const bool quantised = params.x_codes.codes != nullptr;
  const auto x_type = static_cast<DType>(params.x.type);
  LinearTile tile = LinearTile::kPlain;
  if (has_tiles(x_type, quantised, static_cast<DType>(params.weight.type))) {
    check_rows_aligned(params);
    tile = choose_tile(params.y.cols, params.y.rows, multiprocessors());
  }
  launched(kernels::launch_linear_any(params, tile, stream()), "linear");
}

void CudaOps::do_linear(const LinearArgs& args) {
  const uint32_t limit = scratch_.limits.linear_in_max;
  if (args.weight.cols > limit) {
    fail(Status::kInternal, "linear: ", args.weight.cols, " columns found, reserved linear_in_max ",
         limit);
  }
  device_.enter();
  multiply(args.x, args.x_codes, args.weight, args.y);
}

}  // namespace dsv3
