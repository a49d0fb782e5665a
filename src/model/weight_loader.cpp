#include "model/weight_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/dtype.h"

namespace dsv3 {
namespace {

constexpr uint64_t kCopyPieceBytes = 8u << 20;
constexpr uint64_t kPieceAlignment = 64;

bool is_floating(std::optional<DType> dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF16;
}

uint64_t padded(uint64_t bytes) { return align_up(bytes, kPieceAlignment); }

// Element `index` of a BF16, F16 or F32 tensor at any alignment.
float element(const std::byte* data, DType dtype, uint64_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, data + index * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data + index * 2, 2);
  return dtype == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
}

// True when any byte of rows [row, row + 128) x cols [col, col + 128) is not a zero.
bool block_has_nonzero(const TensorView& tensor, uint64_t row, uint64_t col) {
  const uint64_t row_end = std::min<uint64_t>(row + kBlock, tensor.shape[0]);
  const uint64_t col_end = std::min<uint64_t>(col + kBlock, tensor.shape[1]);
  for (uint64_t r = row; r < row_end; ++r) {
    for (uint64_t c = col; c < col_end; ++c) {
      const auto byte = std::to_integer<uint8_t>(tensor.data[r * tensor.shape[1] + c]);
      if ((byte & 0x7fu) != 0) return true;
    }
  }
  return false;
}

// `where` is the file and name of the scales.
void check_scales(const std::string& where, const TensorView& tensor, const TensorView& scales) {
  for (uint64_t i = 0; i < scales.shape.elements(); ++i) {
    const float scale = element(scales.data, DType::kF32, i);
    const uint64_t row = i / scales.shape[1];
    const uint64_t col = i % scales.shape[1];
    if (!std::isfinite(scale) || scale < 0.0f) {
      fail(Status::kInvalidModel, where, ": element [", row, ", ", col, "] is ", scale,
           ", wanted a finite number above 0");
    }
    if (scale == 0.0f && block_has_nonzero(tensor, row * kBlock, col * kBlock)) {
      fail(Status::kInvalidModel, where, ": element [", row, ", ", col,
           "] is 0 for a block that is not all zero, wanted a finite number above 0");
    }
  }
}

void check_no_nan_bytes(const std::string& where, const TensorView& tensor) {
  for (uint64_t i = 0; i < tensor.bytes; ++i) {
    if ((std::to_integer<uint8_t>(tensor.data[i]) & 0x7fu) == 0x7fu) {
      fail(Status::kInvalidModel, where, ": byte ", i, " is NaN in F8_E4M3, wanted a number");
    }
  }
}

}  // namespace

WeightLoader::WeightLoader(Checkpoint& checkpoint, const ModelConfig& config, ModelWeights& weights,
                           const WeightLoadOptions& options)
    : checkpoint_(checkpoint), options_(options), weights_(weights), tied_head_(config.tied_head) {
  visit_manifest(config, weights, [this](WeightRequest request) {
    items_.push_back(check(std::move(request)));
    plan_bytes(items_.back());
  });
}

WeightLoader::Item WeightLoader::check(WeightRequest request) const {
  Item item{.request = std::move(request)};
  const std::string& name = item.request.name;
  const Shape& shape = item.request.shape;
  item.tensor = checkpoint_.find(name);
  if (item.tensor == nullptr) fail_missing(item.request);
  const TensorEntry& tensor = *item.tensor;
  if (tensor.rank != shape.rank || tensor.shape != shape) {
    fail(Status::kInvalidModel, where(tensor), " is ", tensor.description(), ", wanted shape ",
         shape.text());
  }
  const bool is_fp8 = tensor.dtype == DType::kF8E4M3 && item.request.may_be_fp8;
  if (!is_floating(tensor.dtype) && !is_fp8) {
    fail(Status::kUnsupported, where(tensor), " is ", tensor.description(),
         ", supported: BF16, F16, F32", item.request.may_be_fp8 ? ", F8_E4M3" : "");
  }
  if (!is_fp8) return item;  // a scale beside it is a leftover of a conversion (spec §4.6)
  const Shape scale_shape{ceil_div<uint64_t>(shape[0], kBlock),
                          ceil_div<uint64_t>(shape[1], kBlock)};
  item.scales = checkpoint_.find(name + "_scale_inv");
  if (item.scales == nullptr) {
    fail(Status::kInvalidModel, where(tensor), " is F8_E4M3 and ", name,
         "_scale_inv is missing, wanted F32 ", scale_shape.text());
  }
  const TensorEntry& scales = *item.scales;
  if (scales.dtype != DType::kF32 || scales.rank != scale_shape.rank ||
      scales.shape != scale_shape) {
    fail(Status::kInvalidModel, where(scales), " is ", scales.description(), ", wanted F32 ",
         scale_shape.text());
  }
  return item;
}

std::string WeightLoader::where(const TensorEntry& entry) const {
  return str(checkpoint_.files()[entry.file], ": tensor ", entry.name);
}

void WeightLoader::fail_missing(const WeightRequest& request) const {
  const std::string stem = request.name.substr(0, request.name.rfind('.'));
  const TensorEntry* const packed = checkpoint_.find(stem + ".weight_packed");
  if (packed != nullptr) {
    fail(Status::kUnsupported, where(*packed), " is ", packed->description(),
         ", INT4 pack-quantized weights; supported: BF16, F16, F32, F8_E4M3");
  }
  const bool one_file = checkpoint_.files().size() == 1;
  fail(Status::kInvalidModel,
       one_file ? checkpoint_.files().front() : std::string("model.safetensors.index.json"),
       ": tensor ", request.name, " is missing, wanted shape ", request.shape.text());
}

void WeightLoader::plan_bytes(Item& item) {
  const bool in_place = options_.map && checkpoint_.can_map();
  // By address, not by place in the file: the host's memory may start anywhere.
  const auto misaligned = [this](const TensorEntry& entry) {
    const auto address = reinterpret_cast<uintptr_t>(checkpoint_.map_tensor(entry).data);
    return address % std::max<uint64_t>(dtype_bits(*entry.dtype) / 8, 1) != 0;
  };
  const auto plan_one = [&](const TensorEntry& entry, bool& copy) {
    copy = !in_place || misaligned(entry);
    if (copy) {
      item.own_bytes += padded(entry.bytes);
    } else {
      bytes_.mapped += entry.bytes;
    }
  };
  if (item.request.as_float) {
    item.own_bytes = padded(item.request.shape.elements() * sizeof(float));
  } else {
    plan_one(*item.tensor, item.copy_tensor);
    if (item.scales != nullptr) plan_one(*item.scales, item.copy_scales);
  }
  bytes_.copied = add_or_fail(bytes_.copied, item.own_bytes, "bytes of copied weights");
}

DType WeightLoader::activation_dtype() const {
  const auto embed = items_.front().tensor->dtype;
  return embed == DType::kBF16 ? DType::kBF16 : DType::kF32;
}

void WeightLoader::reserve(Device& device) { memory_ = device.allocate(bytes_.copied, "weights"); }

bool WeightLoader::step(Device& device) {
  if (item_index_ == items_.size()) return true;
  const Item& item = items_[item_index_];
  if (!copy_piece(item)) return false;
  bind(device, item);
  bytes_done_ += item.own_bytes;
  if (!item.request.as_float && !item.copy_tensor) bytes_done_ += item.tensor->bytes;
  if (item.scales != nullptr && !item.copy_scales) bytes_done_ += item.scales->bytes;
  memory_used_ += item.own_bytes;
  item_copied_ = 0;
  ++item_index_;
  if (item_index_ < items_.size()) return false;
  if (tied_head_) weights_.head = weights_.embed;
  return true;
}

// Copies the next piece of the item's tensor; true when nothing is left to copy.
bool WeightLoader::copy_piece(const Item& item) {
  std::byte* own = memory_.data() + memory_used_;
  if (item.request.as_float) {
    std::vector<std::byte> raw(item.tensor->bytes);
    checkpoint_.read_tensor_range(*item.tensor, 0, raw.data(), raw.size());
    for (uint64_t i = 0; i < item.request.shape.elements(); ++i) {
      const float value = element(raw.data(), *item.tensor->dtype, i);
      if (!std::isfinite(value)) {
        fail(Status::kInvalidModel, where(*item.tensor), ": element ", i, " is ", value,
             ", wanted a finite number");
      }
      std::memcpy(own + i * sizeof(float), &value, sizeof(float));
    }
    return true;
  }
  if (item.copy_tensor && item_copied_ < item.tensor->bytes) {
    const uint64_t bytes = std::min(kCopyPieceBytes, item.tensor->bytes - item_copied_);
    checkpoint_.read_tensor_range(*item.tensor, item_copied_, own + item_copied_, bytes);
    item_copied_ += bytes;
    if (item_copied_ < item.tensor->bytes) return false;
  }
  if (item.copy_scales) {
    std::byte* scales = own + (item.copy_tensor ? padded(item.tensor->bytes) : 0);
    checkpoint_.read_tensor_range(*item.scales, 0, scales, item.scales->bytes);
  }
  return true;
}

TensorView WeightLoader::view(const TensorEntry& entry, bool copied, uint64_t own_offset) const {
  if (!copied) return checkpoint_.map_tensor(entry);
  return {.data = memory_.data() + memory_used_ + own_offset,
          .bytes = entry.bytes,
          .dtype = *entry.dtype,
          .shape = entry.shape};
}

void WeightLoader::bind(Device& device, const Item& item) {
  if (item.request.as_float) {
    TensorView values;
    values.data = memory_.data() + memory_used_;
    values.bytes = item.request.shape.elements() * sizeof(float);
    values.dtype = DType::kF32;
    values.shape = item.request.shape;
    *item.request.target = device.load(values, nullptr);
    return;
  }
  const TensorView tensor = view(*item.tensor, item.copy_tensor, 0);
  if (item.scales == nullptr) {
    *item.request.target = device.load(tensor, nullptr);
    return;
  }
  const uint64_t scale_offset = item.copy_tensor ? padded(item.tensor->bytes) : 0;
  const TensorView scales = view(*item.scales, item.copy_scales, scale_offset);
  check_scales(where(*item.scales), tensor, scales);
  if (options_.scan_values) check_no_nan_bytes(where(*item.tensor), tensor);
  *item.request.target = device.load(tensor, &scales);
}

}  // namespace dsv3
