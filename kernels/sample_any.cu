// sample  results[r] = the token of row r of logits [R, V] by rows[r]: penalties, bias, mask,
//         temperature, top-k, top-p, min-p, draw; log-probabilities of the raw logits.
// Who does what: a block per row, up to 1024 threads. Passes over the V logits: (1) adjust: all
// that changes single logits, into scratch, and the largest raw one; (2) the best token and the sum
// of the raw exponentials; when drawing, (3) two passes for the sums of parts and the part that the
// goal falls into. top-k and top-p cost four passes each, top_logprobs five: the last logit that
// stays is found by three digits of its bits through histograms in shared memory, its equals by
// counting. Probabilities are FP64 exponentials rounded to fixed point, 2^-45 for V = 129,280:
// their sums are exact, whatever the order. A token less probable than about 2^-46 of the best is
// never drawn. Bytes: 4 V a pass, from L2 after the first. Operations: one FP64 exponential per
// logit in (2), (3) and each top-p pass, none for logits 45 temperatures below the best. Expected
// bound: what one multiprocessor reads, some microseconds a pass at V = 129,280; histograms whose
// logits share their leading bits wait for each other's atomics. Not yet run on hardware.
#include "kernels/common/counter_random.h"
#include "kernels/common/device_code.h"
#include "kernels/common/order_key.h"
#include "kernels/common/warp.h"
#include "kernels/load_all.h"
#include "kernels/sample.h"
#include "kernels/sample_select.h"

namespace dsv3::kernels {
namespace {

constexpr uint32_t kThreadsMax = 1024;
constexpr float kLargest = 3.402823466e+38f;
constexpr double kWeightless = -45.0;  // e^-45 < 2^-64: nothing in fixed point

struct SampleMemory {
  SelectMemory select;
  uint64_t ranks[kThreadsMax / 32];
  double sums[kThreadsMax / 32];
  float tops[kThreadsMax / 32];
  uint32_t flags[kThreadsMax / 32];
  uint32_t listed;  // entries of `list`
  uint32_t list[kTopLogprobsMax];
};

// One row and all that its block works on.
struct Sampler {
  const SampleRow& row;
  const float* raw;  // [V]
  float* adjusted;   // [V]
  uint32_t* counts;  // [V]
  uint32_t vocab;    // V
  uint32_t end;      // ids from here on are never drawn
  double unit;       // of fixed-point probabilities
  SampleMemory& memory;
};

__device__ __forceinline__ bool is_finite(float value) {
  return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

__device__ __forceinline__ float finite_or_banned(float logit) {
  return is_finite(logit) ? logit : -INFINITY;
}

// A penalty or a bias may have overflowed: a forced token stays comparable, a broken one is out.
__device__ __forceinline__ float adjusted_at(const Sampler& s, uint32_t token) {
  const float logit = s.adjusted[token];
  if (!(logit == logit)) return -INFINITY;
  return logit > kLargest ? kLargest : logit;
}

__device__ __forceinline__ bool has_penalties(const SampleRow& row) {
  return row.repetition_penalty != 1.0f || row.presence_penalty != 0.0f ||
         row.frequency_penalty != 0.0f;
}

// counts[token] = 2 * occurrences among the generated ones, and not 0 if it occurs at all.
__device__ void count_history(const Sampler& s) {
  for (uint32_t i = threadIdx.x; i < s.vocab; i += blockDim.x) s.counts[i] = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < s.row.history_count; i += blockDim.x) {
    const auto token = static_cast<uint32_t>(s.row.history[i]);
    if (token >= s.vocab) continue;
    if (i >= s.row.generated_begin) {
      atomicAdd(&s.counts[token], 2u);
    } else {
      atomicMax(&s.counts[token], 1u);
    }
  }
  __syncthreads();
}

// The product is rounded by itself: a fused multiply-add would give other bits than the CPU.
__device__ __forceinline__ float penalised(const SampleRow& row, float logit, uint32_t count) {
  if (count == 0) return logit;
  logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  const uint32_t generated = count / 2;
  if (generated == 0) return logit;
  const float by_frequency = __fmul_rn(row.frequency_penalty, static_cast<float>(generated));
  return logit - (row.presence_penalty + by_frequency);
}

__device__ __forceinline__ bool is_allowed(const Sampler& s, uint32_t token) {
  if (token >= s.end) return false;
  return s.row.allowed == nullptr || (s.row.allowed[token / 32] >> (token % 32) & 1u) != 0;
}

// adjusted = penalised raw logits, what may not be drawn as -inf (a bias leaves it there). The
// largest finite raw logit.
__device__ float adjust(const Sampler& s) {
  const bool penalties = has_penalties(s.row);
  if (penalties) count_history(s);
  float top = -INFINITY;
  for (uint32_t i = threadIdx.x; i < s.vocab; i += blockDim.x) {
    const float logit = finite_or_banned(s.raw[i]);
    top = logit > top ? logit : top;
    if (!is_allowed(s, i)) {
      s.adjusted[i] = -INFINITY;
    } else {
      s.adjusted[i] = penalties ? penalised(s.row, logit, s.counts[i]) : logit;
    }
  }
  return block_max(top, s.memory.tops);
}

// Adds the biases, those of one token in their order: the first one's thread adds all of them.
__device__ void add_biases(const Sampler& s) {
  const uint32_t count = s.row.bias_count;
  if (count == 0) return;
  const LogitBias* biases = s.row.biases;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const auto token = static_cast<uint32_t>(biases[i].token);
    if (token < s.vocab) atomicExch(&s.counts[token], 0u);  // a token may stand twice
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const auto token = static_cast<uint32_t>(biases[i].token);
    if (token < s.vocab) atomicMax(&s.counts[token], count - i);  // the largest: the first bias
  }
  __syncthreads();
  uint32_t later = 0;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const auto token = static_cast<uint32_t>(biases[i].token);
    if (token >= s.vocab) continue;
    if (s.counts[token] == count - i) {
      s.adjusted[token] += biases[i].bias;
    } else {
      later = 1;
    }
  }
  if (block_max(later, s.memory.flags) == 0) return;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const auto token = static_cast<uint32_t>(biases[i].token);
    if (token >= s.vocab || s.counts[token] != count - i) continue;
    for (uint32_t j = i + 1; j < count; ++j) {
      if (biases[j].token == biases[i].token) s.adjusted[token] += biases[j].bias;
    }
  }
}

// The best token's rank, and the sum of exp(raw - raw_top) over the finite raw logits.
struct Summary {
  uint64_t best;
  double sum;
};

__device__ Summary summarise(const Sampler& s, float raw_top) {
  __syncthreads();
  uint64_t best = 0;
  double sum = 0.0;
  for (uint32_t i = threadIdx.x; i < s.vocab; i += blockDim.x) {
    const uint64_t here = ranked(order_key(adjusted_at(s, i)), i);
    best = here > best ? here : best;
    const double distance = static_cast<double>(s.raw[i]) - static_cast<double>(raw_top);
    if (is_finite(s.raw[i]) && distance > kWeightless) sum += exp(distance);
  }
  return {block_max(best, s.memory.ranks), block_sum(sum, s.memory.sums)};
}

// exp((logit - top) / temperature): the probability up to a factor. 1 for the best token.
__device__ __forceinline__ double weight(const SampleRow& row, float logit, float top) {
  const double distance = static_cast<double>(logit) - static_cast<double>(top);
  if (distance == 0.0) return 1.0;
  const double exponent = distance / static_cast<double>(row.temperature);
  return exponent < kWeightless ? 0.0 : exp(exponent);
}

__device__ __forceinline__ uint64_t fixed_point(double weight, double unit) {
  return static_cast<uint64_t>(weight * unit + 0.5);
}

// What top-k and top-p keep.
__device__ RankCut filter(const Sampler& s, float top) {
  const auto key_of = [&](uint32_t token) {
    const float logit = adjusted_at(s, token);
    return logit == -INFINITY ? kNoKey : order_key(logit);
  };
  RankCut cut;
  if (s.row.top_k != 0) {
    cut = rank_cut(
        s.vocab, key_of, [](uint32_t) { return uint64_t{1}; },
        [&](uint64_t) { return static_cast<uint64_t>(s.row.top_k); }, s.memory.select);
  }
  if (!(s.row.top_p < 1.0f)) return cut;
  const RankCut by_count = cut;
  return rank_cut(
      s.vocab,
      [&](uint32_t token) {
        const uint32_t key = key_of(token);
        return by_count.keeps(key, token) ? key : kNoKey;
      },
      [&](uint32_t key) { return fixed_point(weight(s.row, value_of_key(key), top), s.unit); },
      [&](uint64_t total) {
        const double wanted = ceil(static_cast<double>(s.row.top_p) * static_cast<double>(total));
        return wanted < 1.0 ? uint64_t{1} : static_cast<uint64_t>(wanted);
      },
      s.memory.select);
}

// Inverse of the cumulative distribution over the kept tokens in ascending id order.
__device__ int32_t draw(const Sampler& s, uint32_t best, const RankCut& cut) {
  const float top = adjusted_at(s, best);
  const double least = static_cast<double>(s.row.min_p);
  const double unit_number = random_unit(s.row.seed, s.row.position);
  const Place place = locate(
      s.vocab,
      [&](uint32_t token) {
        const float logit = adjusted_at(s, token);
        if (logit == -INFINITY || !cut.keeps(order_key(logit), token)) return uint64_t{0};
        const double own = weight(s.row, logit, top);
        if (least > 0.0 && own < least && token != best) return uint64_t{0};
        return fixed_point(own, s.unit);
      },
      [&](uint64_t total) {
        const auto goal = static_cast<uint64_t>(unit_number * static_cast<double>(total));
        return goal < total ? goal : total - 1;
      },
      s.memory.select);
  return static_cast<int32_t>(place.index);
}

// Lists the best raw logits in descending order. All threads.
__device__ void report_top(const Sampler& s, double log_sum, SampleResult& result) {
  const uint32_t wanted =
      s.row.top_logprobs < kTopLogprobsMax ? s.row.top_logprobs : kTopLogprobsMax;
  if (wanted == 0) return;
  const auto key_of = [&](uint32_t token) {
    return token < s.end && is_finite(s.raw[token]) ? order_key(s.raw[token]) : kNoKey;
  };
  const RankCut cut = rank_cut(
      s.vocab, key_of, [](uint32_t) { return uint64_t{1}; },
      [&](uint64_t) { return static_cast<uint64_t>(wanted); }, s.memory.select);
  if (threadIdx.x == 0) s.memory.listed = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < s.vocab; i += blockDim.x) {
    const uint32_t key = key_of(i);
    if (key != kNoKey && cut.keeps(key, i)) s.memory.list[atomicAdd(&s.memory.listed, 1u)] = i;
  }
  __syncthreads();
  const uint32_t count = s.memory.listed;
  if (threadIdx.x == 0) result.top_count = count;
  if (threadIdx.x >= count) return;
  const uint32_t token = s.memory.list[threadIdx.x];
  uint32_t place = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t other = s.memory.list[i];
    place += ranked(key_of(other), other) > ranked(key_of(token), token) ? 1 : 0;
  }
  result.top_tokens[place] = static_cast<int32_t>(token);
  result.top_logprobs[place] = static_cast<float>(static_cast<double>(s.raw[token]) - log_sum);
}

__global__ void __launch_bounds__(kThreadsMax) sample_kernel(SampleParams params, double unit) {
  const uint32_t index = blockIdx.x;
  const uint32_t vocab = params.logits.cols;
  const SampleRow& row = params.rows[index];
  const uint32_t limit = row.vocab_limit;
  const Sampler s{row,
                  static_cast<const float*>(params.logits.data) + index * params.logits.stride,
                  params.adjusted + static_cast<uint64_t>(index) * vocab,
                  params.counts + static_cast<uint64_t>(index) * vocab,
                  vocab,
                  limit == 0 || limit > vocab ? vocab : limit,
                  unit,
                  shared_memory<SampleMemory>()};
  const float raw_top = adjust(s);
  add_biases(s);
  const Summary summary = summarise(s, raw_top);
  int32_t token = -1;
  if (ranked_key(summary.best) > order_key(-INFINITY)) {
    const uint32_t best = ranked_index(summary.best);
    token = static_cast<int32_t>(best);
    if (row.temperature > 0.0f) token = draw(s, best, filter(s, adjusted_at(s, best)));
  }
  SampleResult& result = params.results[index];
  const double log_sum = static_cast<double>(raw_top) + log(summary.sum);
  if (threadIdx.x == 0) {
    result = {};
    result.token = token;
    if (row.drawn != nullptr) *row.drawn = token < 0 ? 0 : token;
    if (token >= 0) {
      result.logprob = static_cast<float>(static_cast<double>(s.raw[token]) - log_sum);
    }
  }
  __syncthreads();
  report_top(s, log_sum, result);
}

}  // namespace

int launch_sample_any(const SampleParams& params, gpu::Stream* stream) {
  const uint32_t vocab = params.logits.cols;
  const uint32_t wanted = (vocab / 16 + 31) / 32 * 32;
  const uint32_t threads = wanted < 32 ? 32 : (wanted < kThreadsMax ? wanted : kThreadsMax);
  // The sum of V probabilities of at most 1 stays below 2^62.
  double unit = 0x1p62;
  for (uint32_t covered = 1; covered < vocab && unit > 1.0; covered *= 2) unit /= 2;
  const Launch where{.blocks = {params.logits.rows, 1, 1},
                     .threads = threads,
                     .shared_bytes = static_cast<uint32_t>(sizeof(SampleMemory)),
                     .stream = stream};
  return launch(sample_kernel, where, params, unit);
}

int load_sample_any() { return load(sample_kernel); }

}  // namespace dsv3::kernels
