// Card. Bytes: 4 V, the logits, once; every further pass finds them in a cache. Floor: two passes
// over V, for the maximum and for the exponentials of the log-probability; 2.5 us at V = 32768.
// Measured (EPYC Zen 5, one thread, 2026-11-24, best of 300 rows of 32768 normal logits of
// deviation 3, warm), AVX-512, AVX2 and scalar: greedy 7, 19, 140 us (150 before, with passes that
// nothing asked for and the exponentials in FP64); temperature alone 15, 37, 246; top-k 50 with
// top-p 0.95 12, 26, 189; min-p 0.05 11, 24, 187; top-p 0.9 55, 81, 351; greedy with 20
// log-probabilities 21, 33, 201. Not tried: one pass that rescales the sum whenever the maximum
// grows.
#include "cpu/cpu_sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr uint32_t kSeen = 0x80000000u;  // in counts_: the repetition penalty has been applied
constexpr uint32_t kSumBlock = 256;      // exponentials added in FP32; their sums are added in FP64
constexpr uint32_t kBestBlock = 1024;
// A search for candidates looks so far below the best logit, each time twice as far.
constexpr double kReaches[] = {4.0, 8.0, 16.0, 32.0, 64.0};

// Larger logit first, then lower id. Total, so that every selection has one answer.
struct Better {
  const float* logits;
  bool operator()(uint32_t a, uint32_t b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

// Whether `a` comes after `b` in the ranking.
bool is_later(const SampleCut& a, const SampleCut& b) {
  return a.logit < b.logit || (a.logit == b.logit && a.token > b.token);
}

}  // namespace

bool RowSampler::penalises() const {
  return row_.history_count != 0 &&
         (row_.repetition_penalty != 1.0f || row_.presence_penalty != 0.0f ||
          row_.frequency_penalty != 0.0f);
}

bool RowSampler::keeps_logits() const {
  return !penalises() && row_.bias_count == 0 && row_.allowed == nullptr;
}

void RowSampler::load() {
  kernels_.keep_finite(raw_, end_, logits_);
  std::fill(logits_ + end_, logits_ + vocab_, -kInfinity);
}

void RowSampler::penalise() {
  if (!penalises()) return;
  for (uint32_t i = 0; i < row_.history_count; ++i) {
    const auto token = static_cast<uint32_t>(row_.history[i]);
    float& logit = logits_[token];
    if ((counts_[token] & kSeen) == 0) {
      logit = logit > 0.0f ? logit / row_.repetition_penalty : logit * row_.repetition_penalty;
      counts_[token] |= kSeen;
    }
    if (i >= row_.generated_begin) ++counts_[token];
  }
  for (uint32_t i = 0; i < row_.history_count; ++i) {
    const auto token = static_cast<uint32_t>(row_.history[i]);
    const uint32_t count = counts_[token] & ~kSeen;
    if (count != 0) {
      logits_[token] -= row_.presence_penalty + row_.frequency_penalty * static_cast<float>(count);
    }
    counts_[token] = 0;
  }
}

void RowSampler::mask() {
  for (uint32_t i = 0; i < row_.bias_count; ++i) {
    logits_[row_.biases[i].token] += row_.biases[i].bias;
  }
  for (uint32_t i = 0; i < row_.bias_count; ++i) {
    settle(static_cast<uint32_t>(row_.biases[i].token));
  }
  for (uint32_t i = 0; penalises() && i < row_.history_count; ++i) {
    settle(static_cast<uint32_t>(row_.history[i]));
  }
  for (uint32_t first = 0; row_.allowed != nullptr && first < end_; first += 32) {
    const uint32_t count = std::min(end_ - first, 32u);
    const uint32_t in_range = 0xffffffffu >> (32 - count);
    const uint32_t banned = ~row_.allowed[first / 32] & in_range;
    if (banned == in_range) {
      std::fill_n(logits_ + first, count, -kInfinity);
      continue;
    }
    for (uint32_t bits = banned; bits != 0; bits &= bits - 1) {
      logits_[first + static_cast<uint32_t>(std::countr_zero(bits))] = -kInfinity;
    }
  }
}

// A penalty or a bias may have overflowed: a forced token stays comparable, a broken one is out, as
// is one beyond the limit.
void RowSampler::settle(uint32_t token) {
  float& logit = logits_[token];
  if (std::isnan(logit) || token >= end_) logit = -kInfinity;
  logit = std::min(logit, kLargest);
}

// The largest of the finite logits, at its lowest id; -inf where none is finite.
SampleCut RowSampler::best_of(const float* logits, uint32_t count) const {
  SampleCut best{.logit = -kInfinity};
  uint32_t block = 0;
  for (uint32_t begin = 0; begin < count; begin += kBestBlock) {
    const float here = kernels_.max_finite(logits + begin, std::min(count - begin, kBestBlock));
    if (here <= best.logit) continue;
    best.logit = here;
    block = begin;
  }
  if (best.logit == -kInfinity) return best;
  best.token = block;
  while (logits[best.token] != best.logit) ++best.token;
  return best;
}

float RowSampler::inverse_temperature() const {
  return std::min(1.0f / row_.temperature, kLargest);  // of a denormal one: infinite
}

// exp((logit - top) / temperature): the probability up to a factor. 1 for the best token.
double RowSampler::weight(float logit, float top) const {
  const double distance = static_cast<double>(logit) - static_cast<double>(top);
  return distance == 0.0 ? 1.0 : std::exp(distance / static_cast<double>(row_.temperature));
}

double RowSampler::exp_total(const float* logits, uint32_t count, float top, float factor) const {
  double total = 0.0;
  for (uint32_t begin = 0; begin < count; begin += kSumBlock) {
    const uint32_t here = std::min(count - begin, kSumBlock);
    total += static_cast<double>(kernels_.exp_finite(logits + begin, here, top, factor, nullptr));
  }
  return total;
}

// The tokens whose logits are at most `reach` below the largest, in order_; all for an infinite
// reach.
uint32_t RowSampler::gather(double reach, float top) const {
  const double limit = std::max(static_cast<double>(top) - reach, -static_cast<double>(kLargest));
  const auto at_least = std::max(std::nextafter(static_cast<float>(limit), -kInfinity), -kLargest);
  return kernels_.find_at_least(logits_, vocab_, at_least, order_);
}

double RowSampler::mass_of(uint32_t candidates, float top) const {
  double mass = 0.0;
  for (uint32_t i = 0; i < candidates; ++i) mass += weight(logits_[order_[i]], top);
  return mass;
}

// The top_k best tokens, or all where there are no more.
uint32_t RowSampler::top_candidates(float top) const {
  uint32_t count = 0;
  for (const double reach : kReaches) {
    if (count < row_.top_k) count = gather(reach, top);
  }
  if (count < row_.top_k) count = gather(static_cast<double>(kInfinity), top);
  if (count <= row_.top_k) return count;
  std::nth_element(order_, order_ + row_.top_k - 1, order_ + count, Better{logits_});
  return row_.top_k;
}

// A first part of the ranking that holds the nucleus; `total` is the weight of all tokens.
uint32_t RowSampler::nucleus_candidates(float top, double& total) const {
  constexpr double kMargin = 1.0 + 1e-5;  // for what rounding may do to either sum
  total = exp_total(logits_, vocab_, top, inverse_temperature());
  const double wanted = static_cast<double>(row_.top_p) * total * kMargin;
  const auto temperature = static_cast<double>(row_.temperature);
  for (const double reach : kReaches) {
    const uint32_t count = gather(reach * temperature, top);
    if (mass_of(count, top) >= wanted) return count;
  }
  return gather(static_cast<double>(kInfinity), top);
}

// Every filter keeps a first part of the ranking, so what they keep together is told by its last
// token. Only a first part of the ranking is looked at.
SampleCut RowSampler::cut(SampleCut best) const {
  const bool nucleus = row_.top_p < 1.0f;
  if (row_.top_k == 0 && !nucleus && row_.min_p <= 0.0f) return {.logit = -kInfinity};
  uint32_t count = 0;
  double total = 0.0;
  if (row_.top_k != 0) {
    count = top_candidates(best.logit);
    total = nucleus ? mass_of(count, best.logit) : 0.0;
  } else if (nucleus) {
    count = nucleus_candidates(best.logit, total);
  } else {
    const double reach = -std::log(static_cast<double>(row_.min_p)) * 1.0001 + 1e-6;
    count = gather(std::max(reach, 0.0) * static_cast<double>(row_.temperature), best.logit);
  }
  // The nucleus is taken last: it reorders the candidates.
  const SampleCut by_weight = weight_cut(count, best);
  if (!nucleus) return by_weight;
  const SampleCut by_mass = nucleus_cut(count, best.logit, total);
  return is_later(by_mass, by_weight) ? by_weight : by_mass;
}

// The last of the candidates with at least min_p times the largest probability; `best` always
// stays.
SampleCut RowSampler::weight_cut(uint32_t candidates, SampleCut best) const {
  SampleCut cut = best;
  for (uint32_t i = 0; i < candidates; ++i) {
    const SampleCut here{.logit = logits_[order_[i]], .token = order_[i]};
    if (!is_later(here, cut)) continue;
    if (row_.min_p > 0.0f && weight(here.logit, best.logit) < static_cast<double>(row_.min_p)) {
      continue;
    }
    cut = here;
  }
  return cut;
}

// The last of the shortest ranked prefix of the candidates whose mass reaches top_p of `total`.
// A histogram over the logits finds the bin where it ends; only that bin is sorted.
SampleCut RowSampler::nucleus_cut(uint32_t candidates, float top, double total) const {
  constexpr uint32_t kBins = 1024;
  constexpr double kWeightless = 40.0;  // e^-40: all beyond share the last bin
  double lowest = static_cast<double>(top);
  for (uint32_t i = 0; i < candidates; ++i) {
    lowest = std::min(lowest, static_cast<double>(logits_[order_[i]]));
  }
  const double range = std::min(static_cast<double>(top) - lowest,
                                kWeightless * static_cast<double>(row_.temperature));
  const double bins_per_logit = range > 0.0 ? kBins / range : 0.0;
  const auto bin_of = [&](uint32_t token) {
    const double distance = static_cast<double>(top) - static_cast<double>(logits_[token]);
    return static_cast<uint32_t>(std::min(distance * bins_per_logit, kBins - 1.0));
  };
  double bins[kBins] = {};
  for (uint32_t i = 0; i < candidates; ++i) {
    bins[bin_of(order_[i])] += weight(logits_[order_[i]], top);
  }
  const double wanted = static_cast<double>(row_.top_p) * total;
  double mass = 0.0;
  uint32_t last_bin = 0;
  while (last_bin + 1 < kBins && mass + bins[last_bin] < wanted) mass += bins[last_bin++];

  uint32_t count = 0;
  for (uint32_t i = 0; i < candidates; ++i) {
    if (bin_of(order_[i]) == last_bin) order_[count++] = order_[i];
  }
  std::sort(order_, order_ + count, Better{logits_});
  SampleCut cut{.logit = -kInfinity};
  for (uint32_t i = 0; i < count; ++i) {
    if (i > 0 && mass >= wanted) break;
    cut = {.logit = logits_[order_[i]], .token = order_[i]};
    mass += weight(cut.logit, top);
  }
  return cut;
}

// order_ = the tokens that `cut` keeps, in ascending order, and the head of logits_ their logits.
uint32_t RowSampler::keep(const SampleCut& cut) {
  const uint32_t found = kernels_.find_at_least(logits_, vocab_, cut.logit, order_);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < found; ++i) {
    const uint32_t token = order_[i];
    const float logit = logits_[token];
    if (logit == cut.logit && token > cut.token) continue;
    order_[kept] = token;
    logits_[kept++] = logit;
  }
  return kept;
}

// Inverse of the cumulative distribution over the kept tokens in ascending id order.
int32_t RowSampler::draw(const SampleCut& cut, float top) {
  if (cut.logit == -kInfinity) return static_cast<int32_t>(draw_index(end_, top));
  const uint32_t index = draw_index(keep(cut), top);
  return static_cast<int32_t>(order_[index]);
}

// Which of the first `kept` entries of logits_ is drawn. Their weights take their place, the sums
// of blocks of them stand in counts_ meanwhile.
uint32_t RowSampler::draw_index(uint32_t kept, float top) {
  const uint32_t blocks = (kept + kSumBlock - 1) / kSumBlock;
  const float factor = inverse_temperature();
  double total = 0.0;
  for (uint32_t block = 0; block < blocks; ++block) {
    float* const here = logits_ + size_t{block} * kSumBlock;
    const uint32_t count = std::min(kept - block * kSumBlock, kSumBlock);
    const float sum = kernels_.exp_finite(here, count, top, factor, here);
    counts_[block] = std::bit_cast<uint32_t>(sum);
    total += static_cast<double>(sum);
  }
  const double goal = random_unit(row_.seed, row_.position) * total;
  double mass = 0.0;    // of the blocks before `drawn`
  double behind = 0.0;  // and with it
  uint32_t drawn = 0;
  for (uint32_t block = 0; block < blocks; ++block) {
    const auto sum = static_cast<double>(std::bit_cast<float>(counts_[block]));
    counts_[block] = 0;
    if (sum <= 0.0 || (behind > 0.0 && goal < behind)) continue;
    drawn = block;
    mass = behind;
    behind += sum;
  }
  uint32_t last = drawn * kSumBlock;
  const uint32_t end = std::min(last + kSumBlock, kept);
  for (uint32_t i = last; i < end; ++i) {
    if (logits_[i] <= 0.0f) continue;
    last = i;
    mass += static_cast<double>(logits_[i]);
    if (goal < mass) break;
  }
  return last;
}

// Some token whose raw logit is `top`, their largest; `guess` if it is one.
uint32_t RowSampler::token_of(float top, int32_t guess) const {
  if (guess >= 0 && raw_[guess] == top) return static_cast<uint32_t>(guess);
  for (uint32_t begin = 0; begin < vocab_; begin += kSumBlock) {
    const uint32_t here = std::min(vocab_ - begin, kSumBlock);
    if (kernels_.max_finite(raw_ + begin, here) != top) continue;
    return begin + static_cast<uint32_t>(std::find(raw_ + begin, raw_ + begin + here, top) -
                                         (raw_ + begin));
  }
  DSV3_ASSERT(false);
  return 0;
}

// Log-probabilities under the raw logits: before penalties, bias, masks and temperature. `top`: the
// largest of them.
void RowSampler::report(float top, SampleResult& result) const {
  if (top == -kInfinity) return;
  // The largest logit's own 1 is left out of the FP32 sums: beside it small ones would be lost.
  const uint32_t best = token_of(top, result.token);
  const double rest =
      exp_total(raw_, best, top, 1.0f) + exp_total(raw_ + best + 1, vocab_ - best - 1, top, 1.0f);
  const double log_sum = static_cast<double>(top) + std::log1p(rest);
  const auto log_probability = [&](int32_t token) {
    const float logit = std::isfinite(raw_[token]) ? raw_[token] : -kInfinity;
    return static_cast<float>(static_cast<double>(logit) - log_sum);
  };
  if (result.token >= 0) result.logprob = log_probability(result.token);
  if (row_.top_logprobs == 0) return;
  report_top(result);
  for (uint32_t i = 0; i < result.top_count; ++i) {
    result.top_logprobs[i] = log_probability(result.top_tokens[i]);
  }
}

// A short sorted list: most tokens fail its last entry, and most blocks in one comparison.
void RowSampler::report_top(SampleResult& result) const {
  const uint32_t wanted = row_.top_logprobs;
  int32_t* const tokens = result.top_tokens;
  const Better better{raw_};
  for (uint32_t i = 0; i < end_; ++i) {
    const bool full = result.top_count == wanted;
    if (full && i % kSumBlock == 0) {
      const uint32_t here = std::min(end_ - i, kSumBlock);
      if (kernels_.max_finite(raw_ + i, here) <= raw_[tokens[wanted - 1]]) {
        i += here - 1;
        continue;
      }
    }
    if (!std::isfinite(raw_[i])) continue;
    if (full && !better(i, static_cast<uint32_t>(tokens[wanted - 1]))) continue;
    uint32_t slot = full ? wanted - 1 : result.top_count++;
    for (; slot > 0 && better(i, static_cast<uint32_t>(tokens[slot - 1])); --slot) {
      tokens[slot] = tokens[slot - 1];
    }
    tokens[slot] = static_cast<int32_t>(i);
  }
}

SampleResult RowSampler::sample() {
  SampleResult result;
  const bool kept = keeps_logits();
  const bool greedy = !(row_.temperature > 0.0f);
  if (!kept || !greedy) load();
  if (!kept) {
    penalise();
    mask();
  }
  const SampleCut best = best_of(kept ? raw_ : logits_, end_);
  float top = kept ? best.logit : kernels_.max_finite(raw_, end_);  // of all raw logits
  if (end_ < vocab_) top = std::max(top, kernels_.max_finite(raw_ + end_, vocab_ - end_));
  if (best.logit != -kInfinity) {
    result.token = greedy ? static_cast<int32_t>(best.token) : draw(cut(best), best.logit);
  }
  report(top, result);
  return result;
}

void CpuOps::do_sample(const SampleArgs& args) {
  const uint32_t vocab = args.logits.cols;
  check_limit("sample", "sample_rows_max", args.logits.rows, scratch_.limits.sample_rows_max);
  check_limit("sample", "vocab", vocab, scratch_.limits.vocab);
  for (uint32_t r = 0; r < args.logits.rows; ++r) check_sample_row(args.rows[r], vocab);
  run(args.logits.rows, [&](uint32_t r, uint32_t worker) {
    const auto* logits = static_cast<const float*>(row_at(args.logits, r));
    const SampleRow& row = args.rows[r];
    args.results[r] = RowSampler(logits, vocab, row, kernels_, scratch_.workers[worker]).sample();
    if (row.drawn != nullptr) *row.drawn = std::max(args.results[r].token, 0);
  });
}

}  // namespace dsv3
