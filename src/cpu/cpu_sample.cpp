#include "cpu/cpu_sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr uint32_t kSeen = 0x80000000u;  // in counts_: the repetition penalty has been applied

float finite_or_banned(float logit) { return std::isfinite(logit) ? logit : -kInfinity; }

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

void RowSampler::load() {
  for (uint32_t i = 0; i < vocab_; ++i) logits_[i] = finite_or_banned(raw_[i]);
}

void RowSampler::penalise() {
  const bool generated_counts = row_.presence_penalty != 0.0f || row_.frequency_penalty != 0.0f;
  if (row_.repetition_penalty == 1.0f && !generated_counts) return;
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
  for (uint32_t i = 0; row_.allowed != nullptr && i < vocab_; ++i) {
    if ((row_.allowed[i / 32] >> (i % 32) & 1u) == 0) logits_[i] = -kInfinity;
  }
  const uint32_t end = row_.vocab_limit == 0 ? vocab_ : row_.vocab_limit;
  std::fill(logits_ + end, logits_ + vocab_, -kInfinity);
  // A penalty or a bias may have overflowed: a forced token stays comparable, a broken one is out.
  for (uint32_t i = 0; i < end; ++i) {
    if (std::isnan(logits_[i])) logits_[i] = -kInfinity;
    logits_[i] = std::min(logits_[i], kLargest);
  }
}

int32_t RowSampler::best() const {
  uint32_t best = 0;
  for (uint32_t i = 1; i < vocab_; ++i) {
    if (logits_[i] > logits_[best]) best = i;
  }
  return logits_[best] == -kInfinity ? -1 : static_cast<int32_t>(best);
}

// exp((logit - top) / temperature): the probability up to a factor. 1 for the best token.
double RowSampler::weight(float logit, float top) const {
  const double distance = static_cast<double>(logit) - static_cast<double>(top);
  return distance == 0.0 ? 1.0 : std::exp(distance / static_cast<double>(row_.temperature));
}

uint32_t RowSampler::gather(float at_least) const {
  uint32_t count = 0;
  for (uint32_t i = 0; i < vocab_; ++i) {
    if (logits_[i] >= at_least && logits_[i] != -kInfinity) order_[count++] = i;
  }
  return count;
}

// Every filter keeps a first part of the ranking, so what they keep together is told by its last
// token.
SampleCut RowSampler::cut(SampleCut best) const {
  const bool nucleus = row_.top_p < 1.0f;
  if (row_.top_k == 0 && !nucleus && row_.min_p <= 0.0f) return {.logit = -kInfinity};
  uint32_t count = gather(-kLargest);
  if (row_.top_k != 0 && row_.top_k < count) {
    std::nth_element(order_, order_ + row_.top_k - 1, order_ + count, Better{logits_});
    count = row_.top_k;
  }
  // The nucleus is taken last: it reorders the candidates.
  const SampleCut by_weight = weight_cut(count, best);
  if (!nucleus) return by_weight;
  const SampleCut by_mass = nucleus_cut(count, best.logit);
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

// The last of the shortest ranked prefix of the candidates whose mass reaches top_p of theirs. A
// histogram over the logits finds the bin where it ends; only that bin is sorted.
SampleCut RowSampler::nucleus_cut(uint32_t candidates, float top) const {
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
  double total = 0.0;
  for (uint32_t i = 0; i < candidates; ++i) {
    const double own = weight(logits_[order_[i]], top);
    bins[bin_of(order_[i])] += own;
    total += own;
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

// Inverse of the cumulative distribution over the kept tokens in ascending id order.
int32_t RowSampler::draw(const SampleCut& cut, float top) const {
  double total = 0.0;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < vocab_; ++i) {
    if (logits_[i] < cut.logit || logits_[i] == -kInfinity) continue;
    if (logits_[i] == cut.logit && i > cut.token) continue;
    order_[kept++] = i;
    total += weight(logits_[i], top);
  }
  const double goal = random_unit(row_.seed, row_.position) * total;
  double mass = 0.0;
  int32_t last = -1;
  for (uint32_t i = 0; i < kept; ++i) {
    const double own = weight(logits_[order_[i]], top);
    if (own <= 0.0) continue;
    last = static_cast<int32_t>(order_[i]);
    mass += own;
    if (goal < mass) break;
  }
  return last;
}

// Log-probabilities under the raw logits: before penalties, bias, masks and temperature.
void RowSampler::report(SampleResult& result) const {
  float top = -kInfinity;
  for (uint32_t i = 0; i < vocab_; ++i) top = std::max(top, finite_or_banned(raw_[i]));
  if (top == -kInfinity) return;
  double sum = 0.0;
  for (uint32_t i = 0; i < vocab_; ++i) {
    const float logit = finite_or_banned(raw_[i]);
    if (logit != -kInfinity) sum += std::exp(static_cast<double>(logit) - static_cast<double>(top));
  }
  const double log_sum = static_cast<double>(top) + std::log(sum);
  const auto log_probability = [&](int32_t token) {
    return static_cast<float>(static_cast<double>(finite_or_banned(raw_[token])) - log_sum);
  };
  if (result.token >= 0) result.logprob = log_probability(result.token);
  // A short sorted list: most tokens fail its last entry.
  const uint32_t end = row_.vocab_limit == 0 ? vocab_ : row_.vocab_limit;
  const uint32_t wanted = row_.top_logprobs;
  const Better better{raw_};
  for (uint32_t i = 0; wanted != 0 && i < end; ++i) {
    if (!std::isfinite(raw_[i])) continue;
    const bool full = result.top_count == wanted;
    int32_t* tokens = result.top_tokens;
    if (full && !better(i, static_cast<uint32_t>(tokens[wanted - 1]))) continue;
    uint32_t slot = full ? wanted - 1 : result.top_count++;
    for (; slot > 0 && better(i, static_cast<uint32_t>(tokens[slot - 1])); --slot) {
      tokens[slot] = tokens[slot - 1];
    }
    tokens[slot] = static_cast<int32_t>(i);
  }
  for (uint32_t i = 0; i < result.top_count; ++i) {
    result.top_logprobs[i] = log_probability(result.top_tokens[i]);
  }
}

SampleResult RowSampler::sample() {
  SampleResult result;
  load();
  penalise();
  mask();
  result.token = best();
  if (result.token >= 0 && row_.temperature > 0.0f) {
    const float top = logits_[result.token];
    const SampleCut best{.logit = top, .token = static_cast<uint32_t>(result.token)};
    result.token = draw(cut(best), top);
  }
  report(result);
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
    args.results[r] = RowSampler(logits, vocab, row, scratch_.workers[worker]).sample();
    if (row.drawn != nullptr) *row.drawn = std::max(args.results[r].token, 0);
  });
}

}  // namespace dsv3
