#include "model/weight_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "base/checked.h"
#include "base/dtype.h"

namespace dsv3 {
namespace {

constexpr uint64_t kPieceBytes = 8u << 20;

bool is_floating(std::optional<DType> dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF16;
}

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

}  // namespace

WeightLoader::WeightLoader(Checkpoint& checkpoint, Device& device, const ModelConfig& config,
                           ModelWeights& weights, const WeightLoadOptions& options)
    : checkpoint_(checkpoint),
      device_(device),
      options_(options),
      weights_(weights),
      tied_head_(config.tied_head) {
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

// Misaligned tensors are copied. F8 values never are: their scales may have to be, alone.
void WeightLoader::plan_bytes(Item& item) {
  item.in_place = device_.reads_host_memory() && options_.map && checkpoint_.can_map() &&
                  !item.request.as_float && is_aligned(*item.tensor);
  if (!item.in_place) {
    const DType dtype = item.request.as_float ? DType::kF32 : *item.tensor->dtype;
    item.own_bytes = device_.weight_bytes(item.request.shape, dtype);
  } else {
    bytes_.mapped += item.tensor->bytes;
    item.copy_scales = item.scales != nullptr && !is_aligned(*item.scales);
    if (item.copy_scales) {
      item.own_bytes = device_.weight_bytes(item.scales->shape, DType::kF32);
    } else if (item.scales != nullptr) {
      bytes_.mapped += item.scales->bytes;
    }
  }
  bytes_.copied = add_or_fail(bytes_.copied, item.own_bytes, "bytes of copied weights");
}

// By address, not by place in the file: the host's memory may start anywhere.
bool WeightLoader::is_aligned(const TensorEntry& entry) const {
  const auto address = reinterpret_cast<uintptr_t>(checkpoint_.map_tensor(entry).data);
  return address % std::max<uint64_t>(dtype_bits(*entry.dtype) / 8, 1) == 0;
}

DType WeightLoader::activation_dtype() const {
  const auto embed = items_.front().tensor->dtype;
  return embed == DType::kBF16 ? DType::kBF16 : DType::kF32;
}

Block WeightLoader::reserve() {
  Block block = device_.allocate(bytes_.copied, "weights");
  memory_ = block.data();
  return block;
}

bool WeightLoader::step() {
  if (item_index_ == items_.size()) return true;
  const Item& item = items_[item_index_];
  if (item.in_place) {
    bind_in_place(item);
    bytes_done_ += item.tensor->bytes;
    if (item.scales != nullptr && !item.copy_scales) bytes_done_ += item.scales->bytes;
  } else if (!stream_piece(item)) {
    return false;
  }
  bytes_done_ += item.own_bytes;
  memory_used_ += item.own_bytes;
  item_copied_ = 0;
  ++item_index_;
  if (item_index_ < items_.size()) return false;
  piece_ = {};
  if (tied_head_) weights_.head = weights_.embed;
  return true;
}

MappedRanges WeightLoader::mapped_ranges() const {
  MappedRanges all;
  const auto add = [&](const TensorEntry& entry) {
    const TensorView view = checkpoint_.map_tensor(entry);
    if (view.bytes != 0) all.emplace_back(view.data, view.bytes);
  };
  for (const Item& item : items_) {
    if (!item.in_place) continue;
    add(*item.tensor);
    if (item.scales != nullptr && !item.copy_scales) add(*item.scales);
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return std::less<>()(a.data(), b.data()); });
  MappedRanges out;
  for (const auto& range : all) {
    if (!out.empty() && out.back().data() + out.back().size() == range.data()) {
      out.back() = {out.back().data(), out.back().size() + range.size()};
    } else {
      out.push_back(range);
    }
  }
  return out;
}

void WeightLoader::bind_in_place(const Item& item) {
  const TensorView tensor = checkpoint_.map_tensor(*item.tensor);
  if (item.scales == nullptr) {
    *item.request.target = device_.load(tensor, nullptr);
    return;
  }
  const TensorView scales = scales_in_place(item);
  check_scales(item, reinterpret_cast<const float*>(scales.data));
  if (options_.scan_values) check_no_nan(*item.tensor, tensor.data, 0, tensor.bytes);
  *item.request.target = device_.load(tensor, &scales);
}

TensorView WeightLoader::scales_in_place(const Item& item) {
  const TensorEntry& scales = *item.scales;
  if (!item.copy_scales) return checkpoint_.map_tensor(scales);
  const std::vector<float> values = read_scales(item);
  const Weight own = device_.place(scales.shape, DType::kF32, memory_ + memory_used_);
  device_.upload(own, 0, values.data(), scales.bytes);
  return {.data = static_cast<const std::byte*>(own.data),
          .bytes = scales.bytes,
          .dtype = DType::kF32,
          .shape = scales.shape};
}

std::vector<float> WeightLoader::read_scales(const Item& item) const {
  std::vector<float> values(item.scales->bytes / sizeof(float));
  checkpoint_.read_tensor_range(*item.scales, 0, reinterpret_cast<std::byte*>(values.data()),
                                item.scales->bytes);
  return values;
}

Weight WeightLoader::place(const Item& item) const {
  const DType dtype = item.request.as_float ? DType::kF32 : *item.tensor->dtype;
  return device_.place(item.request.shape, dtype, memory_ + memory_used_);
}

// Sends the next piece of the item to the device; true when the weight is whole.
bool WeightLoader::stream_piece(const Item& item) {
  if (item.request.as_float) {
    convert(item);
    return true;
  }
  const Weight weight = place(item);
  const TensorEntry& tensor = *item.tensor;
  if (item.scales != nullptr && item_copied_ == 0) {
    const std::vector<float> scales = read_scales(item);
    check_scales(item, scales.data());
    device_.upload_scales(weight, scales.data());
  }
  const uint64_t bytes = std::min(kPieceBytes, tensor.bytes - item_copied_);
  if (piece_.size() < bytes) piece_.resize(bytes);
  checkpoint_.read_tensor_range(tensor, item_copied_, piece_.data(), bytes);
  if (item.scales != nullptr && options_.scan_values) {
    check_no_nan(tensor, piece_.data(), item_copied_, bytes);
  }
  device_.upload(weight, item_copied_, piece_.data(), bytes);
  item_copied_ += bytes;
  if (item_copied_ < tensor.bytes) return false;
  *item.request.target = weight;
  return true;
}

void WeightLoader::convert(const Item& item) {
  const TensorEntry& tensor = *item.tensor;
  if (piece_.size() < tensor.bytes) piece_.resize(tensor.bytes);
  checkpoint_.read_tensor_range(tensor, 0, piece_.data(), tensor.bytes);
  std::vector<float> values(item.request.shape.elements());
  for (uint64_t i = 0; i < values.size(); ++i) {
    values[i] = element(piece_.data(), *tensor.dtype, i);
    if (!std::isfinite(values[i])) {
      fail(Status::kInvalidModel, where(tensor), ": element ", i, " is ", values[i],
           ", wanted a finite number");
    }
  }
  const Weight weight = place(item);
  device_.upload(weight, 0, values.data(), values.size() * sizeof(float));
  *item.request.target = weight;
}

void WeightLoader::check_scales(const Item& item, const float* scales) const {
  const Shape& shape = item.scales->shape;
  for (uint64_t i = 0; i < shape.elements(); ++i) {
    const float scale = scales[i];
    const uint64_t row = i / shape[1];
    const uint64_t col = i % shape[1];
    if (!std::isfinite(scale) || scale < 0.0f) {
      fail(Status::kInvalidModel, where(*item.scales), ": element [", row, ", ", col, "] is ",
           scale, ", wanted a finite number above 0");
    }
    if (scale == 0.0f && block_has_nonzero(*item.tensor, row * kBlock, col * kBlock)) {
      fail(Status::kInvalidModel, where(*item.scales), ": element [", row, ", ", col,
           "] is 0 for a block that is not all zero, wanted a finite number above 0");
    }
  }
}

// True when any byte of rows [row, row + 128) x cols [col, col + 128) is not a zero.
bool WeightLoader::block_has_nonzero(const TensorEntry& tensor, uint64_t row, uint64_t col) const {
  const uint64_t row_end = std::min<uint64_t>(row + kBlock, tensor.shape[0]);
  const uint64_t count = std::min<uint64_t>(kBlock, tensor.shape[1] - col);
  std::byte values[kBlock];
  for (uint64_t r = row; r < row_end; ++r) {
    checkpoint_.read_tensor_range(tensor, r * tensor.shape[1] + col, values, count);
    for (uint64_t c = 0; c < count; ++c) {
      if ((std::to_integer<uint8_t>(values[c]) & 0x7fu) != 0) return true;
    }
  }
  return false;
}

// `bytes` are those of the tensor from `begin` on.
void WeightLoader::check_no_nan(const TensorEntry& tensor, const std::byte* bytes, uint64_t begin,
                                uint64_t count) const {
  for (uint64_t i = 0; i < count; ++i) {
    if ((std::to_integer<uint8_t>(bytes[i]) & 0x7fu) == 0x7fu) {
      fail(Status::kInvalidModel, where(tensor), ": byte ", begin + i,
           " is NaN in F8_E4M3, wanted a number");
    }
  }
}

}  // namespace dsv3
