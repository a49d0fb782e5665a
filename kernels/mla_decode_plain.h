// The version of mla_decode for every shape and type that its tensor cores do not take.
#pragma once

#include "kernels/mla_decode.h"

namespace dsv3::kernels {

int launch_mla_decode_plain_any(const MlaDecodeParams& params, gpu::Stream* stream);

}  // namespace dsv3::kernels
