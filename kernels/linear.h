// y = x W^T for one weight or for the weights of routed experts, by tiles of a few shapes that all
// give the same bits.
#pragma once

#include "kernels/common/kernel_types.h"
#include "kernels/common/launch.h"
#include "kernels/experts.h"

namespace dsv3::kernels {

// K is cut into blocks of 128 and the blocks into this many runs of equal length (the last ones may
// be shorter or empty). The order of every result: inside a block the tensor core's own, from zero;
// times the block's scale, added to the run's sum, blocks ascending; runs ascending.
inline constexpr uint32_t kLinearRuns = 8;

// What a thread block computes. The others than kPlain agree in every bit, so that choosing among
// them is a matter of speed. Types without a tensor-core product are summed in an order of their
// own by any tile, with the least effort by kPlain; with kPlain, BF16 and F8 are, too.
enum class LinearTile : uint8_t { kPlain, kStream, kSmall, kLarge };

// Rows of the weight (two weights: of both together) by rows of x.
struct LinearTileShape {
  uint32_t outs = 0;
  uint32_t rows = 0;
};
constexpr LinearTileShape linear_tile_shape(LinearTile tile) {
  if (tile == LinearTile::kPlain) return {16, 8};
  if (tile == LinearTile::kStream) return {16, 8};
  return tile == LinearTile::kSmall ? LinearTileShape{64, 32} : LinearTileShape{128, 64};
}

// kGateUp: y = act(silu(act(x gate^T)) * act(x up^T)); kDown: y = act(x down^T).
enum class ExpertPart : uint8_t { kGateUp, kDown };

// Whose weights a row of y is multiplied with. Without order and jobs row r goes to expert ids[r]
// by itself.
struct ExpertRows {
  const ExpertMatrices* experts = nullptr;  // [expert_count]; null: all rows use one weight
  uint32_t expert_count = 0;
  ExpertPart part = ExpertPart::kGateUp;
  uint32_t x_share = 1;             // rows of y that share a row of x
  const int32_t* ids = nullptr;     // [rows of y]
  const uint32_t* order = nullptr;  // [rows of y]
  const ExpertJob* jobs = nullptr;  // [job_count], pieces of linear_tile_shape(tile).rows
  uint32_t job_count = 0;
};

struct LinearParams {
  ConstMatrix x;   // [X, in]; what lies past `in` may be anything
  Codes x_codes;   // x quantised 1x128: used instead of x where the weight is F8E4M3; may be null
  Weights weight;  // [out, in]
  ExpertRows experts;
  Matrix y;  // [Y, out]
};

int launch_linear_any(const LinearParams& params, LinearTile tile, gpu::Stream* stream);

// The grid of any tile, and the parts of launch_linear_any.
inline Grid linear_grid(const LinearParams& params, LinearTile tile) {
  const LinearTileShape shape = linear_tile_shape(tile);
  const bool is_expert = params.experts.experts != nullptr;
  const bool is_pair = is_expert && params.experts.part == ExpertPart::kGateUp;
  const uint32_t outs = is_pair ? shape.outs / 2 : shape.outs;
  const uint32_t jobs =
      is_expert ? params.experts.job_count : (params.y.rows + shape.rows - 1) / shape.rows;
  return {(params.y.cols + outs - 1) / outs, jobs, 1};
}
int launch_linear_plain_any(const LinearParams& params, gpu::Stream* stream);
int launch_linear_stream_any(const LinearParams& params, gpu::Stream* stream);
int launch_linear_tiles_any(const LinearParams& params, LinearTile tile, gpu::Stream* stream);

}  // namespace dsv3::kernels
