// A paged latent cache for tests: shuffled pages, NaN wherever nothing was stored, and the rounding
// bound of attention derived from the sums it is made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "ops/quant_fixture.h"

namespace dsv3::ops_test {

// Pages of BF16, F32 or F8E4M3; what is stored in the latter is quantised as the oracle does it.
class TestCache {
 public:
  TestCache(DType dtype, const MlaShape& shape, uint32_t page_count)
      : dtype_(dtype), shape_(shape), page_count_(page_count) {
    bytes_.assign(size_t{page_count} * page_bytes(), std::byte{0xff});
  }
  LatentPages pages() {
    return {.data = bytes_.data(),
            .dtype = dtype_,
            .page_count = page_count_,
            .width = width(),
            .page_stride = page_bytes() / element_bytes()};
  }
  uint32_t width() const { return shape_.latent_rank + shape_.rope_dim; }
  DType dtype() const { return dtype_; }

  void store(const std::vector<int32_t>& table, uint32_t position, const Matrix& from,
             uint32_t row) {
    store(table, position, from.row_values(row));
  }
  void store(const std::vector<int32_t>& table, uint32_t position, const Values& values) {
    if (dtype_ != DType::kF8E4M3) {
      for (uint32_t c = 0; c < width(); ++c) put(plain_at(table, position, c), dtype_, values[c]);
      return;
    }
    const uint32_t rank = shape_.latent_rank;
    const auto blocks = reference::quantise_latents(reference::View(values).first(rank), rank);
    const F8Row row = f8_at(table, position);
    std::memcpy(row.codes, blocks.codes.data(), rank);
    std::memcpy(row.scales, blocks.scales.data(), blocks.scales.size() * sizeof(float));
    for (uint32_t i = 0; i < shape_.rope_dim; ++i) {
      put(row.rope + size_t{i} * 2, DType::kBF16, values[rank + i]);
    }
  }
  Values load(const std::vector<int32_t>& table, uint32_t position) {
    Values out;
    if (dtype_ != DType::kF8E4M3) {
      for (uint32_t c = 0; c < width(); ++c) {
        out.push_back(get(plain_at(table, position, c), dtype_));
      }
      return out;
    }
    const F8Row row = f8_at(table, position);
    for (uint32_t i = 0; i < shape_.latent_rank; ++i) {
      const double scale = get(row.scales + i / kBlock * sizeof(float), DType::kF32);
      out.push_back(reference::e4m3_value(std::to_integer<uint8_t>(row.codes[i])) * scale);
    }
    for (uint32_t i = 0; i < shape_.rope_dim; ++i) {
      out.push_back(get(row.rope + size_t{i} * 2, DType::kBF16));
    }
    return out;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  struct F8Row {
    std::byte *codes, *rope, *scales;
  };

  uint64_t element_bytes() const { return dtype_bits(dtype_) / 8; }
  // More than a page needs, as in a cache with other layers between.
  uint64_t page_bytes() const {
    if (dtype_ == DType::kF8E4M3) return latent_page_bytes_f8(shape_) + 20;
    return (uint64_t{width()} * kPageTokens + 5) * element_bytes();
  }
  std::byte* page_at(const std::vector<int32_t>& table, uint32_t position) {
    return bytes_.data() + static_cast<size_t>(table[position / kPageTokens]) * page_bytes();
  }
  std::byte* plain_at(const std::vector<int32_t>& table, uint32_t position, uint32_t col) {
    const uint64_t element = uint64_t{position % kPageTokens} * width() + col;
    return page_at(table, position) + element * element_bytes();
  }
  F8Row f8_at(const std::vector<int32_t>& table, uint32_t position) {
    const size_t slot = position % kPageTokens;
    const size_t rank = shape_.latent_rank;
    const size_t rope_bytes = size_t{shape_.rope_dim} * 2;
    const size_t scale_bytes = (rank + kBlock - 1) / kBlock * sizeof(float);
    std::byte* page = page_at(table, position);
    std::byte* ropes = page + kPageTokens * rank;
    return {page + slot * rank, ropes + slot * rope_bytes,
            ropes + kPageTokens * rope_bytes + slot * scale_bytes};
  }
  static void put(std::byte* to, DType dtype, double value) {
    const auto number = static_cast<float>(value);
    const uint16_t bits = bf16_from_float(number);
    if (dtype == DType::kF32) {
      std::memcpy(to, &number, sizeof(number));
    } else {
      std::memcpy(to, &bits, sizeof(bits));
    }
  }
  static double get(const std::byte* from, DType dtype) {
    float number = 0.0f;
    uint16_t bits = 0;
    if (dtype == DType::kF32) {
      std::memcpy(&number, from, sizeof(number));
    } else {
      std::memcpy(&bits, from, sizeof(bits));
      number = bf16_to_float(bits);
    }
    return static_cast<double>(number);
  }

  DType dtype_;
  MlaShape shape_;
  uint32_t page_count_;
  std::vector<std::byte> bytes_;
};

// A Batch with all that it points to.
struct TestBatch {
  explicit TestBatch(std::vector<BatchSpan> all_spans, std::vector<uint32_t> all_positions = {})
      : spans(std::move(all_spans)), positions(std::move(all_positions)) {
    for (uint32_t s = 0; s < spans.size(); ++s) {
      row_spans.insert(row_spans.end(), spans[s].row_count, s);
    }
  }
  Batch view() const {
    Batch batch{.rows = static_cast<uint32_t>(row_spans.size()),
                .positions = positions.empty() ? nullptr : positions.data(),
                .spans = spans.data(),
                .span_count = static_cast<uint32_t>(spans.size()),
                .row_spans = row_spans.data(),
                .host_spans = spans.data()};
    for (const BatchSpan& span : spans) {
      if (span.form == AttentionForm::kUnabsorbed) batch.unabsorbed_rows += span.row_count;
    }
    return batch;
  }

  std::vector<BatchSpan> spans;
  std::vector<uint32_t> positions;  // [rows], or none
  std::vector<uint32_t> row_spans;  // [rows]
};

// `count` distinct page numbers below `page_count`, in random order.
inline std::vector<int32_t> shuffled_pages(Random& random, uint32_t page_count) {
  std::vector<int32_t> pages(page_count);
  for (uint32_t i = 0; i < page_count; ++i) pages[i] = static_cast<int32_t>(i);
  for (uint32_t i = page_count; i > 1; --i) std::swap(pages[i - 1], pages[random.below(i)]);
  return pages;
}

// How far one row of one head may be from the oracle. Errors of the scores (delta) change every
// probability by at most a factor e^(2 delta); keys and values of the unabsorbed form are rounded
// to act once; every sum adds the error of its length. The cache of `args` holds what is
// multiplied: quantised latents where they are. The tensor cores of a GPU take BF16 alone, as do
// the BF16 products of a CPU: where these are used, absorbed queries and probabilities are rounded
// to it (spec §4.1, §2.5), the latter over a total of the rounded ones. The CPU then adds each sum
// in one chain, a rounding for every product.
class AttendBound {
 public:
  AttendBound(const reference::AttendArgs& args, DType act, DType kv_b, AttentionForm form,
              const OpsParam& param)
      : args_(args),
        param_(param),
        key_round_(form == AttentionForm::kUnabsorbed ? round_of(act) : 0.0),
        in_lanes_(!param.is_cuda && param.level == CpuLevel::kAvx512Bf16 && act == DType::kBF16),
        operand_round_(
            in_lanes_ || (param.is_cuda && act == DType::kBF16 && has_tensor_kernel(args, form))
                ? kRoundBF16
                : 0.0),
        absorbed_(form == AttentionForm::kAbsorbed),
        on_cores_(form == AttentionForm::kUnabsorbed && on_tensor_cores(param, kv_b)),
        act_(act) {
    const size_t keys = args.cache.size() / (args.latent + args.rope);
    for (size_t h = 0; h < args.heads; ++h) {
      for (size_t j = 0; j < keys; ++j) expand(h, j);
    }
  }

  // out [rows, heads * v], as the oracle gave it -> bounds of the same shape.
  Values bounds(const Values& out) const {
    const size_t rows = args_.query.size() / (args_.heads * (args_.nope + args_.rope));
    Values result;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t h = 0; h < args_.heads; ++h) row_bounds(r, h, out, result);
    }
    return result;
  }

 private:
  // Other shapes are multiplied in FP32.
  static bool has_tensor_kernel(const reference::AttendArgs& args, AttentionForm form) {
    if (form == AttentionForm::kAbsorbed) return args.latent == 512 && args.rope == 64;
    return args.nope % 8 == 0 && args.rope % 8 == 0 && args.v % 8 == 0 && args.latent % 8 == 0;
  }
  double chain(size_t terms) const {
    const double lanes = static_cast<double>(terms + 1) * kRoundF32;
    return in_lanes_ ? lanes : chain_error(static_cast<uint32_t>(terms), param_);
  }
  double sum_of_latents() const {
    const double sum = sum_error(static_cast<uint32_t>(args_.latent), param_);
    return in_lanes_ ? std::max(chain(args_.latent), sum) : sum;
  }
  size_t head_width() const { return args_.nope + args_.v; }
  size_t keys() const { return args_.cache.size() / (args_.latent + args_.rope); }
  double value(const Values& of, size_t h, size_t j, size_t i) const {
    return of[(h * keys() + j) * head_width() + i];
  }

  void expand(size_t h, size_t j) {
    const double* c = &args_.cache[j * (args_.latent + args_.rope)];
    for (size_t i = 0; i < head_width(); ++i) {
      const double* w = &args_.kv_b[(h * head_width() + i) * args_.latent];
      double sum = 0.0;
      double absolute = 0.0;
      for (size_t k = 0; k < args_.latent; ++k) {
        sum += w[k] * c[k];
        absolute += std::fabs(w[k] * c[k]);
      }
      expanded_.push_back(sum);
      absolute_.push_back(absolute);
      core_errors_.push_back(on_cores_ ? tensor_core_row_error(c, w, args_.latent) : 0.0);
    }
  }

  double element_error(size_t h, size_t j, size_t i) const {
    const double sum = value(absolute_, h, j, i) * sum_of_latents() + value(core_errors_, h, j, i);
    return sum + key_round_ * (std::fabs(value(expanded_, h, j, i)) + sum);
  }

  void row_bounds(size_t r, size_t h, const Values& out, Values& result) const {
    const size_t dim = args_.nope + args_.rope;
    const double* q = &args_.query[(r * args_.heads + h) * dim];
    const size_t count = args_.first_position + r + 1;
    Values scores;
    double delta = 0.0;
    for (size_t j = 0; j < count; ++j) {
      const double* rope = &args_.cache[j * (args_.latent + args_.rope) + args_.latent];
      double score = 0.0;
      double direct = 0.0;   // sum of |q| |k|
      double through = 0.0;  // sum of |q| |W| |c|
      double keyed = 0.0;    // sum of |q| times the error of k
      for (size_t i = 0; i < args_.nope; ++i) {
        score += q[i] * value(expanded_, h, j, i);
        direct += std::fabs(q[i] * value(expanded_, h, j, i));
        through += std::fabs(q[i]) * value(absolute_, h, j, i);
        keyed += std::fabs(q[i]) * element_error(h, j, i);
      }
      double turned = 0.0;
      for (size_t i = 0; i < args_.rope; ++i) {
        score += q[args_.nope + i] * rope[i];
        turned += std::fabs(q[args_.nope + i] * rope[i]);
      }
      const double absorbed_error = (chain(args_.latent + args_.rope) + operand_round_ +
                                     static_cast<double>(args_.nope + 2) * kRoundF32) *
                                    (through + turned);
      const double expanded_error = keyed + chain(dim) * (direct + keyed + turned);
      const double error = absorbed_ ? absorbed_error : expanded_error;
      scores.push_back(score * args_.scale);
      delta = std::max(delta, args_.scale * error + (8.0 + 4.0 * std::fabs(scores[j])) * kRoundF32);
    }
    value_bounds(r, h, scores, delta, out, result);
  }

  void value_bounds(size_t r, size_t h, const Values& scores, double delta, const Values& out,
                    Values& result) const {
    const double top = *std::max_element(scores.begin(), scores.end());
    double total = 0.0;
    for (const double score : scores) total += std::exp(score - top);
    const auto count = static_cast<double>(scores.size());
    // Half of operand_round_ for each probability, half for their total.
    const double drift = std::expm1(2.0 * delta) + operand_round_ +
                         (2.0 * count + 20.0) * kRoundF32 +
                         (param_.is_cuda ? chain(scores.size()) : 0.0);
    for (size_t d = 0; d < args_.v; ++d) {
      double plain = 0.0;    // sum of p |v|
      double through = 0.0;  // sum of p |W| |c|
      double moved = 0.0;    // sum of p times the error of v
      for (size_t j = 0; j < scores.size(); ++j) {
        const double p = std::exp(scores[j] - top) / total;
        plain += p * std::fabs(value(expanded_, h, j, args_.nope + d));
        through += p * value(absolute_, h, j, args_.nope + d);
        moved += p * element_error(h, j, args_.nope + d);
      }
      const double error =
          absorbed_ ? (drift + sum_of_latents()) * through : drift * plain + moved * (1.0 + drift);
      const double own = out[(r * args_.heads + h) * args_.v + d];
      result.push_back(error + round_of(act_) * (std::fabs(own) + error) + 1e-36);
    }
  }

  const reference::AttendArgs& args_;
  const OpsParam param_;
  double key_round_;
  bool in_lanes_;
  double operand_round_;
  bool absorbed_;
  bool on_cores_;
  DType act_;
  Values expanded_;  // [heads, keys, nope + v]
  Values absolute_;  // the same with absolute terms
  Values core_errors_;
};

}  // namespace dsv3::ops_test
