// A paged latent cache for tests: shuffled pages, NaN wherever nothing was stored, and the rounding
// bound of attention derived from the sums it is made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/ops_fixture.h"

namespace dsv3::ops_test {

class TestCache {
 public:
  TestCache(DType dtype, uint32_t width, uint32_t page_count)
      : dtype_(dtype), width_(width), page_count_(page_count) {
    bytes_.assign(size_t{page_count} * stride() * (dtype_bits(dtype) / 8), std::byte{0xff});
  }
  LatentPages pages() {
    return {.data = bytes_.data(),
            .dtype = dtype_,
            .page_count = page_count_,
            .width = width_,
            .page_stride = stride()};
  }
  void store(const std::vector<int32_t>& table, uint32_t position, const Matrix& from,
             uint32_t row) {
    for (uint32_t c = 0; c < width_; ++c) {
      const double value = from.get(row, c);
      if (dtype_ == DType::kF32) {
        const auto number = static_cast<float>(value);
        std::memcpy(at(table, position) + c * 4, &number, 4);
      } else {
        const uint16_t bits = bf16_from_float(static_cast<float>(value));
        std::memcpy(at(table, position) + c * 2, &bits, 2);
      }
    }
  }
  Values load(const std::vector<int32_t>& table, uint32_t position) {
    Values out;
    for (uint32_t c = 0; c < width_; ++c) {
      if (dtype_ == DType::kF32) {
        float number = 0.0f;
        std::memcpy(&number, at(table, position) + c * 4, 4);
        out.push_back(number);
      } else {
        uint16_t bits = 0;
        std::memcpy(&bits, at(table, position) + c * 2, 2);
        out.push_back(bf16_to_float(bits));
      }
    }
    return out;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  uint64_t stride() const { return uint64_t{width_} * kPageTokens + 5; }
  std::byte* at(const std::vector<int32_t>& table, uint32_t position) {
    const auto page = static_cast<uint64_t>(table[position / kPageTokens]);
    const uint64_t element = page * stride() + uint64_t{position % kPageTokens} * width_;
    return bytes_.data() + element * (dtype_bits(dtype_) / 8);
  }

  DType dtype_;
  uint32_t width_;
  uint32_t page_count_;
  std::vector<std::byte> bytes_;
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
// to act once; every sum adds the error of its length.
class AttendBound {
 public:
  AttendBound(const reference::AttendArgs& args, DType act, AttentionForm form)
      : args_(args),
        key_round_(form == AttentionForm::kUnabsorbed ? round_of(act) : 0.0),
        absorbed_(form == AttentionForm::kAbsorbed),
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
    }
  }

  double element_error(size_t h, size_t j, size_t i) const {
    const double sum = value(absolute_, h, j, i) * sum_error(static_cast<uint32_t>(args_.latent));
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
      const double absorbed_error = (sum_error(static_cast<uint32_t>(args_.latent + args_.rope)) +
                                     static_cast<double>(args_.nope + 2) * kRoundF32) *
                                    (through + turned);
      const double expanded_error =
          keyed + sum_error(static_cast<uint32_t>(dim)) * (direct + keyed + turned);
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
    const double drift = std::expm1(2.0 * delta) + (2.0 * count + 20.0) * kRoundF32;
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
      const double error = absorbed_
                               ? (drift + sum_error(static_cast<uint32_t>(args_.latent))) * through
                               : drift * plain + moved * (1.0 + drift);
      const double own = out[(r * args_.heads + h) * args_.v + d];
      result.push_back(error + round_of(act_) * (std::fabs(own) + error) + 1e-36);
    }
  }

  const reference::AttendArgs& args_;
  double key_round_;
  bool absorbed_;
  DType act_;
  Values expanded_;  // [heads, keys, nope + v]
  Values absolute_;  // the same with absolute terms
};

}  // namespace dsv3::ops_test
