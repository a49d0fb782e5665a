// A device for tests of src/model: its memory faults when the host touches it, and its work happens
// only when somebody waits for it. What computes is the CPU.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpu/cpu_device.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace dsv3::testing {

class ApartDevice final : public Device {
 public:
  struct Counts {
    uint32_t copies_to_device = 0;
    uint32_t copies_to_host = 0;
    uint64_t bytes_to_device = 0;
    uint32_t synchronized = 0;
    uint32_t recorded = 0;
    uint32_t replayed = 0;
    uint32_t ops = 0;  // enqueued one by one
  };

  ApartDevice();
  ~ApartDevice() override;

  const Counts& counts() const { return counts_; }
  uint64_t bytes_held() const { return memory_.bytes_held(); }
  uint64_t host_bytes_held() const { return host_memory_.bytes_held(); }
  // Work that nobody has waited for.
  uint64_t pending() const { return queue_.size(); }
  void enqueue_op(std::function<void()> op);

  std::string description() const override { return "apart"; }
  bool reads_host_memory() const override { return false; }
  uint32_t passes_ahead() const override { return 1; }
  Block allocate(uint64_t bytes, std::string_view what) override;
  Block allocate_host(uint64_t bytes, std::string_view what) override;
  Weight load(const TensorView& tensor, const TensorView* scales) override;
  uint64_t weight_bytes(const Shape& shape, DType dtype) const override;
  Weight place(const Shape& shape, DType dtype, std::byte* memory) const override;
  void upload(const Weight& weight, uint64_t offset, const void* host, uint64_t bytes) override;
  void upload_scales(const Weight& weight, const float* host) override;
  void copy_to_device(void* device, const void* host, uint64_t bytes) override;
  void copy_to_host(void* host, const void* device, uint64_t bytes) override;
  void fill_zero(void* device, uint64_t bytes) override;
  void synchronize() override;
  std::unique_ptr<Marker> make_marker() override;
  void mark(Marker& marker) override;
  void wait(Marker& marker) override;
  std::unique_ptr<Recording> record(const std::function<void()>& ops) override;
  void replay(Recording& recording) override;

 private:
  using Work = std::function<void()>;
  struct Range {
    std::byte* begin = nullptr;
    uint64_t bytes = 0;
  };

  Allocator::Hook hook(std::vector<Range>& ranges);
  void enqueue(Work work);
  void run_until(uint64_t done);
  void protect(bool is_open);
  bool is_host_block(const void* host) const;
  // Now if the host's memory is not ours, else when its turn comes.
  void copy(Work work, const void* host);

  std::vector<Range> ranges_;
  std::vector<Range> host_ranges_;
  Allocator memory_;
  Allocator host_memory_;
  CpuDevice cpu_;  // layouts
  std::deque<Work> queue_;
  uint64_t enqueued_ = 0;
  uint64_t done_ = 0;
  std::vector<Work>* recording_ = nullptr;
  Counts counts_;
};

// The CPU's operations in the order of an ApartDevice. With `wants_codes` it takes and gives codes
// by name only: what they should hold is the business of real devices.
class ApartOps final : public Ops {
 public:
  struct Counts {
    uint32_t codes_written = 0;  // by add_norm
    uint32_t codes_read = 0;     // by linears and experts
  };

  ApartOps(ApartDevice& device, std::unique_ptr<Ops> ops, bool wants_codes)
      : device_(device), ops_(std::move(ops)), wants_codes_(wants_codes) {}

  const Counts& counts() const { return counts_; }
  std::string description() const override { return "apart " + ops_->description(); }
  uint64_t scratch_bytes(const OpsLimits& limits) const override {
    return ops_->scratch_bytes(limits);
  }
  void reserve(const OpsLimits& limits) override { ops_->reserve(limits); }
  ActivationQuant activation_quant() const override { return ops_->activation_quant(); }
  bool wants_codes() const override { return wants_codes_; }

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

  ApartDevice& device_;
  const std::unique_ptr<Ops> ops_;
  const bool wants_codes_;
  Counts counts_;
};

}  // namespace dsv3::testing
