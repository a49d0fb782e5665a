// Which kernels are there? Brings the code of all of them to the thread's device, so that no pass
// is the first to need one: CUDA else loads a kernel when it is launched for the first time.
#pragma once

namespace dsv3::kernels {

// 0, or the runtime's error code; each in the .cu of its name.
int load_experts_any();
int load_linear_plain_any();
int load_linear_stream_any();
int load_linear_tiles_any();
int load_mla_absorb_any();
int load_mla_append_any();
int load_mla_combine_any();
int load_mla_decode_any();
int load_mla_decode_plain_any();
int load_mla_gather_any();
int load_mla_prefill_any();
int load_mla_prefill_plain_any();
int load_norm_any();
int load_quantise_any();
int load_route_any();
int load_rows_any();
int load_sample_any();

inline int load_all() {
  constexpr int (*kLoads[])() = {
      load_experts_any,      load_linear_plain_any, load_linear_stream_any,
      load_linear_tiles_any, load_mla_absorb_any,   load_mla_append_any,
      load_mla_combine_any,  load_mla_decode_any,   load_mla_decode_plain_any,
      load_mla_gather_any,   load_mla_prefill_any,  load_mla_prefill_plain_any,
      load_norm_any,         load_quantise_any,     load_route_any,
      load_rows_any,         load_sample_any,
  };
  for (const auto load : kLoads) {
    const int error = load();
    if (error != 0) return error;
  }
  return 0;
}

}  // namespace dsv3::kernels
