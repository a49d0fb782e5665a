// Times ops one by one. Weights are taken in turns from more memory than a cache holds.
#include <algorithm>
#include <cstring>
#include <functional>

#include "base/checked.h"
#include "base/random.h"
#include "bench.h"
#include "bench_clock.h"

namespace dsv3::bench {
namespace {

constexpr uint64_t kColdBytes = 512u << 20;  // weights of one case in all: ten times an L2 cache

// Memory and weights of one case.
class Bench {
 public:
  Bench(Device& device, Ops& ops, const Options& options)
      : device_(device), ops_(ops), options_(options) {
    pattern_.resize(1u << 20);
    for (size_t i = 0; i < pattern_.size(); ++i) {
      pattern_[i] = static_cast<uint8_t>(random_bits(7, i) & 0xb7u);  // finite in every format
    }
  }

  std::vector<Figure> run() {
    copy_ceiling();
    const bool small = options_.small;
    for (const uint32_t rows : {1u, 8u, 64u, 256u}) {
      linear("linear f8 7168x2048", DType::kF8E4M3, {small ? 64u : 7168u, small ? 256u : 2048u},
             rows);
      linear("linear bf16 2048x2048", DType::kBF16, {small ? 64u : 2048u, small ? 64u : 2048u},
             rows);
    }
    for (const uint32_t tokens : {1u, 8u, 64u}) {
      experts("experts f8, 8 of 64, 2048x1408", DType::kF8E4M3, tokens);
      experts("experts bf16, 6 of 64, 2048x1408", DType::kBF16, tokens);
    }
    for (const uint32_t rows : {1u, 4u}) {
      decode("mla decode, 16 heads, 4096 keys", 16, rows);
      decode("mla decode, 128 heads, 4096 keys", 128, rows);
    }
    return figures_;
  }

 private:
  struct Size {
    uint32_t rows;
    uint32_t cols;
  };

  Rows activations(uint32_t rows, uint32_t cols, DType dtype = DType::kBF16) {
    const uint64_t bytes = uint64_t{rows} * cols * dtype_bits(dtype) / 8;
    blocks_.push_back(device_.allocate(bytes, "bench activations"));
    fill(blocks_.back().data(), bytes);
    return {blocks_.back().data(), dtype, rows, cols, cols};
  }

  void fill(std::byte* device, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += pattern_.size()) {
      device_.copy_to_device(device + at, pattern_.data(),
                             std::min<uint64_t>(pattern_.size(), bytes - at));
    }
    device_.synchronize();
  }

  Weight weight(DType dtype, const Size& size) {
    const Shape shape{size.rows, size.cols};
    const uint64_t bytes = device_.weight_bytes(shape, dtype);
    blocks_.push_back(device_.allocate(bytes, "bench weight"));
    const Weight placed = device_.place(shape, dtype, blocks_.back().data());
    const uint64_t stored = uint64_t{size.rows} * size.cols * dtype_bits(dtype) / 8;
    for (uint64_t at = 0; at < stored; at += pattern_.size()) {
      device_.upload(placed, at, pattern_.data(), std::min<uint64_t>(pattern_.size(), stored - at));
    }
    if (dtype == DType::kF8E4M3) {
      const std::vector<float> scales(
          ceil_div<uint64_t>(size.rows, kBlock) * ceil_div<uint64_t>(size.cols, kBlock), 0.01f);
      device_.upload_scales(placed, scales.data());
    }
    device_.synchronize();
    return placed;
  }

  // As many of them as make the memory cold.
  uint32_t copies(uint64_t bytes) const {
    if (options_.small) return 2;
    return static_cast<uint32_t>(std::clamp<uint64_t>(kColdBytes / (bytes + 1), 2, 64));
  }

  // `call(i)` is the i-th call; a batch takes at least 20 ms.
  double seconds(const std::function<void(uint32_t)>& call) {
    constexpr uint32_t kBatches = 5;
    const double wanted = options_.small ? 0.0 : 0.02;
    uint32_t count = 1;
    uint32_t next = 0;
    const auto batch = [&] {
      const double begin = now();
      for (uint32_t i = 0; i < count; ++i) call(next++);
      device_.synchronize();
      return now() - begin;
    };
    batch();
    while (batch() < wanted && count < 4096) count *= 2;
    std::vector<double> taken;
    for (uint32_t b = 0; b < kBatches; ++b) taken.push_back(batch() / count);
    std::sort(taken.begin(), taken.end());
    return taken[kBatches / 2];
  }

  void report(Figure figure, const std::function<void(uint32_t)>& call) {
    figure.seconds = seconds(call);
    if (ceiling_ > 0.0 && figure.bytes > 0.0)
      figure.ratio = figure.bytes / figure.seconds / ceiling_;
    figures_.push_back(std::move(figure));
    blocks_.clear();
  }

  void copy_ceiling() {
    const uint32_t rows = options_.small ? 64 : 16384;
    const Rows from = activations(rows, 8192);
    const Rows to = activations(rows, 8192);
    const double bytes = 2.0 * rows * 8192 * 2;
    report({.name = "copy ceiling", .bytes = bytes},
           [&](uint32_t) { ops_.copy_rows({.x = from, .out = to, .count = rows}); });
    ceiling_ = bytes / figures_.back().seconds;
    figures_.back().ratio = 1.0;
  }

  void linear(const std::string& name, DType dtype, const Size& size, uint32_t rows) {
    const uint64_t bytes = uint64_t{size.rows} * size.cols * dtype_bits(dtype) / 8;
    std::vector<Weight> weights;
    for (uint32_t i = 0; i < copies(bytes); ++i) weights.push_back(weight(dtype, size));
    const Rows x = activations(rows, size.cols);
    const Rows y = activations(rows, size.rows);
    report(
        {.name = str(name, ", ", rows, " rows"),
         .bytes = static_cast<double>(bytes + 2ull * rows * (size.rows + size.cols)),
         .flops = 2.0 * size.rows * size.cols * rows},
        [&](uint32_t i) { ops_.linear({.x = x, .weight = weights[i % weights.size()], .y = y}); });
  }

  void experts(const std::string& name, DType dtype, uint32_t tokens) {
    const uint32_t hidden = options_.small ? 128 : 2048;
    const uint32_t width = options_.small ? 64 : 1408;
    const uint32_t count = options_.small ? 8 : 64;
    const uint32_t k = dtype == DType::kF8E4M3 ? 8 : 6;
    std::vector<ExpertWeights> table;
    for (uint32_t e = 0; e < count; ++e) {
      table.push_back({.gate = weight(dtype, {width, hidden}),
                       .up = weight(dtype, {width, hidden}),
                       .down = weight(dtype, {hidden, width})});
    }
    std::vector<int32_t> ids(uint64_t{tokens} * k);
    std::vector<bool> used(count);
    for (uint32_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int32_t>((random_bits(3, i / k) + i % k * 7) % count);
      used[static_cast<size_t>(ids[i])] = true;
    }
    const auto active = static_cast<double>(std::count(used.begin(), used.end(), true));
    const auto* device_table = to_device(table);
    const auto* device_ids = to_device(ids);
    const Rows x = activations(tokens, hidden);
    const Rows y = activations(tokens * k, hidden);
    const Rows mid = activations(tokens * k, width);
    const double expert_bytes = 3.0 * hidden * width * dtype_bits(dtype) / 8;
    report({.name = str(name, ", ", tokens, " tokens"),
            .bytes = active * expert_bytes,
            .flops = 6.0 * hidden * width * tokens * k},
           [&](uint32_t) {
             ops_.expert_gate_up({.x = x,
                                  .ids = device_ids,
                                  .experts_per_token = k,
                                  .experts = device_table,
                                  .expert_count = count,
                                  .hidden = mid});
             ops_.expert_down({.hidden = mid,
                               .ids = device_ids,
                               .experts_per_token = k,
                               .experts = device_table,
                               .expert_count = count,
                               .y = y});
           });
  }

  template <typename T>
  const T* to_device(const std::vector<T>& values) {
    const uint64_t bytes = values.size() * sizeof(T);
    blocks_.push_back(device_.allocate(bytes, "bench table"));
    device_.copy_to_device(blocks_.back().data(), values.data(), bytes);
    device_.synchronize();
    return reinterpret_cast<const T*>(blocks_.back().data());
  }

  void decode(const std::string& name, uint32_t heads, uint32_t rows) {
    const uint32_t keys = options_.small ? 130 : 4096;
    const MlaShape shape{heads, 128, 64, 128, 512};
    const uint32_t pages_each = ceil_div(keys, kPageTokens);
    const Rows store = activations(rows * pages_each * kPageTokens, 576);
    std::vector<int32_t> pages(uint64_t{rows} * pages_each);
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
    const int32_t* device_pages = to_device(pages);
    std::vector<BatchSpan> spans;
    std::vector<uint32_t> row_spans;
    for (uint32_t r = 0; r < rows; ++r) {
      spans.push_back({.row_begin = r,
                       .row_count = 1,
                       .position_begin = keys - 1,
                       .form = AttentionForm::kAbsorbed,
                       .pages = device_pages + uint64_t{r} * pages_each});
      row_spans.push_back(r);
    }
    const std::vector<uint32_t> positions(rows, keys - 1);
    const Batch batch{.rows = rows,
                      .positions = to_device(positions),
                      .spans = to_device(spans),
                      .span_count = rows,
                      .row_spans = to_device(row_spans),
                      .host_spans = spans.data()};
    const Rows q = activations(rows, heads * 192);
    const Rows out = activations(rows, heads * 128);
    const Weight kv_b = weight(DType::kBF16, {heads * 256, 512});
    report({.name = str(name, ", ", rows, " rows"),
            .bytes = 1152.0 * rows * keys + heads * 256.0 * 512 * 2,
            .flops = 2.0 * rows * keys * heads * (576 + 512)},
           [&](uint32_t) {
             ops_.mla_attend({.shape = shape,
                              .batch = batch,
                              .q = q,
                              .kv_b = kv_b,
                              .pages = {.data = store.data,
                                        .dtype = DType::kBF16,
                                        .page_count = rows * pages_each,
                                        .width = 576,
                                        .page_stride = uint64_t{kPageTokens} * 576},
                              .scale = 0.07f,
                              .out = out});
           });
  }

  Device& device_;
  Ops& ops_;
  const Options& options_;
  std::vector<uint8_t> pattern_;
  std::vector<Block> blocks_;
  std::vector<Figure> figures_;
  double ceiling_ = 0.0;  // bytes per second
};

}  // namespace

std::vector<Figure> bench_ops(Device& device, Ops& ops, const Options& options) {
  OpsLimits limits;
  limits.rows_max = 256;
  limits.sample_rows_max = 1;
  limits.positions_max = 8192;
  limits.linear_in_max = 16384;
  limits.expert_rows_max = 64 * 8;
  limits.experts_max = 64;
  limits.vocab = 1024;
  limits.expert_width_max = 2048;
  limits.mla = {
      .heads = 128, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512};
  ops.reserve(limits);
  return Bench(device, ops, options).run();
}

}  // namespace dsv3::bench
