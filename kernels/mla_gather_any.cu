// out[j, :] = act(page row of position key_begin + j), [keys, Rkv+dr]: the latents of a chunk of
// keys, from shuffled pages of any type to plain rows.
//
// Who: a warp a key, lanes stride over its columns; the row is read twice, to see whether it is
// finite and to copy it. Bytes: keys * (Rkv+dr) read and written, 0.6 MB each for 512 keys in BF16.
// Bound: launch latency. Not yet run on hardware.
#include "kernels/common/device_code.h"
#include "kernels/common/numeric.h"
#include "kernels/common/warp.h"
#include "kernels/latent_pages.h"
#include "kernels/load_all.h"
#include "kernels/mla_prefill.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreads = 128;

__device__ bool is_finite(float value) {
  return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

__global__ void __launch_bounds__(kThreads) mla_gather(MlaGatherParams params) {
  const uint32_t key = blockIdx.x * (kThreads / 32) + warp_index();
  if (key >= params.out.rows) return;
  const uint32_t rank = params.dims.latent_rank;
  const CachedRow row = cached_row(params.pages, rank, params.page_numbers, params.key_begin + key);
  bool is_sound = true;
  for (uint32_t c = lane_index(); c < rank; c += 32) {
    is_sound = is_sound && is_finite(cached_value(params.pages, row, rank, c));
  }
  is_sound = __all_sync(kAllLanes, is_sound) != 0;
  const float nan = __uint_as_float(0x7fc00000u);
  for (uint32_t c = lane_index(); c < params.pages.width; c += 32) {
    const float value =
        is_sound ? cached_value(params.pages, row, rank, c) : (c < rank ? 0.0f : nan);
    store_float(params.out.data, params.out.type, key * params.out.stride + c, value);
  }
}

}  // namespace

int launch_mla_gather_any(const MlaGatherParams& params, gpu::Stream* stream) {
  constexpr uint32_t kKeys = kThreads / 32;
  return launch(mla_gather,
                {.blocks = {(params.out.rows + kKeys - 1) / kKeys, 1, 1},
                 .threads = kThreads,
                 .shared_bytes = 0,
                 .stream = stream},
                params);
}

int load_mla_gather_any() { return load(mla_gather); }

}  // namespace dsv3::kernels
