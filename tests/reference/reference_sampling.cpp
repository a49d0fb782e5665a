// The sampling transform of the oracle, one stage after the other over the whole vocabulary.
#include "reference/reference_sampling.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"

namespace dsv3::reference {

Values penalized_logits(View logits, const SamplingParams& params, std::span<const int32_t> prompt,
                        std::span<const int32_t> generated) {
  Values out(logits.begin(), logits.end());
  std::set<int32_t> seen(prompt.begin(), prompt.end());
  seen.insert(generated.begin(), generated.end());
  for (const int32_t token : seen) {
    double& logit = out.at(static_cast<size_t>(token));
    logit = logit > 0.0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
  std::map<int32_t, int> counts;
  for (const int32_t token : generated) ++counts[token];
  for (const auto& [token, count] : counts) {
    out.at(static_cast<size_t>(token)) -=
        params.presence_penalty + params.frequency_penalty * count;
  }
  for (const auto& [token, addend] : params.logit_bias)
    out.at(static_cast<size_t>(token)) += addend;
  return out;
}

Values log_softmax(View logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - top);
  Values out(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) out[i] = logits[i] - top - std::log(sum);
  return out;
}

size_t argmax(View values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  }
  return best;
}

Values sampling_probabilities(View logits, const SamplingParams& params,
                              std::span<const int32_t> prompt, std::span<const int32_t> generated) {
  Values scaled = penalized_logits(logits, params, prompt, generated);
  Values out(scaled.size(), 0.0);
  if (params.temperature == 0.0) {
    out[argmax(scaled)] = 1.0;
    return out;
  }
  for (double& logit : scaled) logit /= params.temperature;
  std::vector<size_t> order(scaled.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scaled[a] > scaled[b]; });
  if (params.top_k > 0) order.resize(std::min(order.size(), params.top_k));
  Values mass;  // of the ranked tokens, summing to 1 after top_k
  for (const size_t token : order) mass.push_back(std::exp(scaled[token] - scaled[order[0]]));
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  double before = 0.0;
  double kept = 0.0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const bool in_nucleus = rank == 0 || params.top_p >= 1.0 || before < params.top_p * total;
    if (!in_nucleus || mass[rank] < params.min_p * mass[0]) break;
    before += mass[rank];
    kept += mass[rank];
    out[order[rank]] = mass[rank];
  }
  for (double& probability : out) probability /= kept;
  return out;
}

}  // namespace dsv3::reference
