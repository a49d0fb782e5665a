// The class behind make_cuda_ops. One file an op family: cuda_rows (take_tokens, embed, norms,
// swiglu, copy), cuda_linear, cuda_attention, cuda_moe (route, experts, combine), cuda_sample; each
// picks the kernel, its grid and its scratch, and kernels/ does the rest.
#pragma once

#include <string>
#include <string_view>

#include "cuda/cuda_device.h"
#include "cuda/cuda_scratch.h"
#include "kernels/common/kernel_types.h"
#include "kernels/linear.h"
#include "ops/ops.h"

namespace dsv3 {

class CudaOps final : public Ops {
 public:
  CudaOps(CudaDevice& device, ActivationQuant quant) : device_(device), quant_(quant) {}

  std::string description() const override;
  uint64_t scratch_bytes(const OpsLimits& limits) const override;
  void reserve(const OpsLimits& limits) override;
  ActivationQuant activation_quant() const override { return quant_; }
  bool wants_codes() const override { return quant_ == ActivationQuant::k1x128; }

 private:
  void do_take_tokens(const TakeTokensArgs& args) override;
  void do_embed(const EmbedArgs& args) override;
  void do_add_norm(const AddNormArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_linear(const LinearArgs& args) override;
  void do_mla_append(const MlaAppendArgs& args) override;
  void do_mla_attend(const MlaAttendArgs& args) override;
  void do_route(const RouteArgs& args) override;
  void do_expert_gate_up(const ExpertGateUpArgs& args) override;
  void do_expert_down(const ExpertDownArgs& args) override;
  void do_expert_combine(const ExpertCombineArgs& args) override;
  void do_swiglu(const SwigluArgs& args) override;
  void do_copy_rows(const CopyRowsArgs& args) override;
  void do_sample(const SampleArgs& args) override;

  // Throws DEVICE_LOST naming the kernel when a launch was refused.
  void launched(int error, std::string_view kernel) { device_.check(error, kernel); }
  gpu::Stream* stream() const { return device_.stream(); }
  uint32_t multiprocessors() const {
    return static_cast<uint32_t>(device_.properties().multiprocessors);
  }
  // y = x W^T by the kernel that fits the types; quantises x first where the profile wants it.
  void multiply(const ConstRows& x, const QuantRows& x_codes, const Weight& weight, const Rows& y);
  void run_linear(const kernels::LinearParams& params);
  // x in scratch memory, quantised 1x128. INTERNAL when it does not fit.
  kernels::Codes quantise(const ConstRows& x);
  // Groups the rows of y by expert, unless they are a single token's, and multiplies.
  void run_experts(kernels::LinearParams params, bool single_token, const char* op);
  void attend_absorbed(const MlaAttendArgs& args);
  void attend_unabsorbed(const MlaAttendArgs& args);
  void attend_chunk(const MlaAttendArgs& args, const BatchSpan& span, uint32_t key_begin,
                    uint32_t keys);

  CudaDevice& device_;
  const ActivationQuant quant_;
  CudaScratch scratch_;
};

// INTERNAL unless rows of x and of its codes are 16-byte aligned.
void check_rows_aligned(const kernels::LinearParams& params);

// Views for kernels: the same fields.
inline kernels::Type kernel_type(DType dtype) { return static_cast<kernels::Type>(dtype); }
inline kernels::Matrix kernel_matrix(const Rows& rows) {
  return {rows.data, kernel_type(rows.dtype), rows.rows, rows.cols, rows.stride};
}
inline kernels::ConstMatrix kernel_matrix(const ConstRows& rows) {
  return {rows.data, kernel_type(rows.dtype), rows.rows, rows.cols, rows.stride};
}
inline kernels::Weights kernel_weights(const Weight& weight) {
  return {weight.data,   kernel_type(weight.dtype), weight.rows, weight.cols, weight.stride,
          weight.scales, weight.scale_stride};
}
inline kernels::Codes kernel_codes(const QuantRows& rows) {
  return {rows.codes, rows.scales, rows.stride, rows.scale_stride};
}
inline kernels::Pages kernel_pages(const LatentPages& pages) {
  return {pages.data, kernel_type(pages.dtype), pages.page_count, pages.width, pages.page_stride};
}
inline kernels::MlaDims kernel_dims(const MlaShape& shape) {
  return {shape.heads, shape.nope_dim, shape.rope_dim, shape.value_dim, shape.latent_rank};
}

}  // namespace dsv3
