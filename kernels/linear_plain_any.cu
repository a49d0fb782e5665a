// linear, any types  y[r, o] = sum over k of x[r, k] * w[o, k] in FP32.  x [T, in], w [out, in]
//   Who does what: a warp sums one weight row against up to 8 rows of x (kernels/linear_plain.h); a
//   block of 8 warps takes 16 weight rows. Grid: (out / 16, rows / 8).
//   For F32 activations and F32 or F16 weights: small models, gates. Bytes: w once per 8 rows of x.
//   Bound: memory for few rows, arithmetic beyond. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/linear.h"
#include "kernels/linear_plain.h"
#include "kernels/load_all.h"

namespace dsv3::kernels {
namespace {

constexpr LinearTileShape kShape = linear_tile_shape(LinearTile::kPlain);
constexpr uint32_t kThreads = 256;

__global__ void __launch_bounds__(kThreads) linear_plain_kernel(LinearParams params) {
  LinearJob job;
  if (find_job(params, kShape.rows, job)) plain_tile(params, job, kShape.outs);
}

}  // namespace

int launch_linear_plain_any(const LinearParams& params, gpu::Stream* stream) {
  const Launch where{.blocks = linear_grid(params, LinearTile::kPlain),
                     .threads = kThreads,
                     .shared_bytes = 0,
                     .stream = stream};
  return launch(linear_plain_kernel, where, params);
}

int launch_linear_any(const LinearParams& params, LinearTile tile, gpu::Stream* stream) {
  switch (tile) {
    case LinearTile::kPlain:
      return launch_linear_plain_any(params, stream);
    case LinearTile::kStream:
      return launch_linear_stream_any(params, stream);
    case LinearTile::kSmall:
    case LinearTile::kLarge:
      break;
  }
  return launch_linear_tiles_any(params, tile, stream);
}

int load_linear_plain_any() { return load(linear_plain_kernel); }

}  // namespace dsv3::kernels
