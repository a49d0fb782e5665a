// Kernels as work of a stream, refused for what a GPU refuses.
#include "emulation/emulated_launch.h"

#include <cstring>
#include <string>
#include <string_view>

#include "emulation/emulated_block.h"
#include "emulation/emulated_state.h"
#include "emulation/emulated_stream.h"

namespace dsv3::emulated {
namespace {

constexpr uint32_t kGridMaxX = 0x7fffffff;
constexpr uint32_t kGridMaxYz = 0xffff;

// "kernel of router_any(const RouteParams&)": the file's stem and what the launch's signature says
// of the parameters.
std::string kernel_name(const char* file, std::string_view signature) {
  std::string_view stem = file;
  stem = stem.substr(stem.rfind('/') + 1);
  stem = stem.substr(0, stem.find('.'));
  std::string name = "kernel of " + std::string(stem);
  const size_t begin = signature.find("Params = {");
  const size_t end = signature.find('}', begin);
  if (begin == std::string_view::npos || end == std::string_view::npos) return name;
  const std::string_view params = signature.substr(begin + 10, end - begin - 10);
  return name + "(" + std::string(params) + ")";
}

class alignas(std::max_align_t) KernelWork final : public Work {
 public:
  // The bytes of the arguments follow the object.
  KernelWork(const kernels::Launch& where, const KernelCall& call) : where_(where), call_(call) {
    std::memcpy(arguments(), call.arguments, call.bytes);
  }

  int run(gpu::Stream& stream) const override {
    const Settings set = settings();
    count(Count::kKernels);
    const std::string name = kernel_name(call_.file, call_.params);
    if (launch_is_due_to_fail()) return fail_device(stream.ordinal, name + ": told to fail");
    const uint64_t kernel_number = stream.next_kernel();
    const Kernel kernel = {
        .thread = call_.thread,
        .closure = arguments(),
        .name = name.c_str(),
        .grid = {where_.blocks.x, where_.blocks.y, where_.blocks.z},
        .threads = where_.threads,
        .shared_bytes = where_.shared_bytes,
        .capability = set.capability,
        .order_seed = set.order_seed == 0 ? 0 : mixed(set.order_seed + (kernel_number << 32)),
    };
    char text[kFaultTextBytes];
    return run_grid(kernel, text) ? 0 : fail_device(stream.ordinal, text);
  }

 private:
  void* arguments() { return this + 1; }
  const void* arguments() const { return this + 1; }

  // Never 0.
  static uint64_t mixed(uint64_t value) {
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return (value ^ value >> 31) | 1u;
  }

  const kernels::Launch where_;
  const KernelCall call_;
};
static_assert(sizeof(KernelWork) % alignof(std::max_align_t) == 0, "arguments follow aligned");

// Empty, or what a GPU would refuse.
std::string refusal(const kernels::Launch& where, int capability) {
  const auto& blocks = where.blocks;
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || blocks.x > kGridMaxX ||
      blocks.y > kGridMaxYz || blocks.z > kGridMaxYz) {
    return "a grid of " + std::to_string(blocks.x) + " x " + std::to_string(blocks.y) + " x " +
           std::to_string(blocks.z) + " blocks, wanted 1 to 2147483647 x 65535 x 65535";
  }
  if (where.threads == 0 || where.threads > 1024 || where.threads % 32 != 0) {
    return "blocks of " + std::to_string(where.threads) +
           " threads, wanted a multiple of 32 up to 1024";
  }
  if (where.shared_bytes > shared_bytes_max(capability)) {
    return std::to_string(where.shared_bytes) + " bytes of shared memory, this device has " +
           std::to_string(shared_bytes_max(capability));
  }
  return {};
}

}  // namespace

int enqueue_kernel(const kernels::Launch& where, const KernelCall& call) {
  if (where.stream == nullptr) {
    return fail_device(current_device(), kernel_name(call.file, call.params) + ": no stream");
  }
  const int error = where.stream->check();
  if (error != 0) return error;
  const std::string refused = refusal(where, settings().capability);
  if (!refused.empty()) {
    return fail_device(where.stream->ordinal, kernel_name(call.file, call.params) + ": " + refused);
  }
  return where.stream->enqueue(make_work<KernelWork>(call.bytes, where, call));
}

}  // namespace dsv3::emulated
