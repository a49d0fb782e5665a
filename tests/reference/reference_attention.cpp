// Multi-head latent attention of the oracle, in both of its algebraic forms.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "base/dtype.h"
#include "base/error.h"
#include "reference/reference_ops.h"
#include "reference/reference_quant.h"

namespace dsv3::reference {
namespace {

double dot(View a, View b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void softmax_in_place(Values& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
}

// The same with probabilities rounded to BF16 before they are scaled to one, each against the
// largest score up to its page's end.
void softmax_rounded_in_place(Values& scores) {
  constexpr size_t kPage = 64;
  double top = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  for (size_t begin = 0; begin < scores.size(); begin += kPage) {
    const size_t end = std::min(scores.size(), begin + kPage);
    const double last = top;
    for (size_t key = begin; key < end; ++key) top = std::max(top, scores[key]);
    const double factor = std::exp(last - top);
    sum *= factor;
    for (size_t key = 0; key < begin; ++key) scores[key] *= factor;
    for (size_t key = begin; key < end; ++key) {
      scores[key] =
          static_cast<double>(bf16_round(static_cast<float>(std::exp(scores[key] - top))));
      sum += scores[key];
    }
  }
  for (double& score : scores) score /= sum;
}

void to_probabilities(Values& scores, const Precision& precision) {
  if (precision.bf16_operands) {
    softmax_rounded_in_place(scores);
  } else {
    softmax_in_place(scores);
  }
}

void check(const AttendArgs& args) {
  const size_t query_dim = args.heads * (args.nope + args.rope);
  DSV3_ASSERT(query_dim > 0 && args.query.size() % query_dim == 0);
  DSV3_ASSERT(args.kv_b.size() == args.heads * (args.nope + args.v) * args.latent);
  DSV3_ASSERT(args.cache.size() >=
              (args.first_position + args.query.size() / query_dim) * (args.latent + args.rope));
}

// One head's query of one row. [nope + rope]
View query_of(const AttendArgs& args, size_t row, size_t head) {
  const size_t dim = args.nope + args.rope;
  return args.query.subspan((row * args.heads + head) * dim, dim);
}

View latent_of(const AttendArgs& args, size_t key) {
  return args.cache.subspan(key * (args.latent + args.rope), args.latent);
}

View rope_key_of(const AttendArgs& args, size_t key) {
  return args.cache.subspan(key * (args.latent + args.rope) + args.latent, args.rope);
}

// The latents that the naive form expands. [keys, latent]
Values expanded_latents(const AttendArgs& args, size_t keys) {
  Values latents;
  for (size_t key = 0; key < keys; ++key) {
    const View latent = latent_of(args, key);
    latents.insert(latents.end(), latent.begin(), latent.end());
  }
  return args.precision.quantise ? quantise_activations(latents, args.latent).values() : latents;
}

// Row `index` of one head's [nope + v, latent] part of kv_b.
View kv_b_row(const AttendArgs& args, size_t head, size_t index) {
  return args.kv_b.subspan((head * (args.nope + args.v) + index) * args.latent, args.latent);
}

}  // namespace

Values attend_naive(const AttendArgs& args) {
  check(args);
  const size_t rows = args.query.size() / (args.heads * (args.nope + args.rope));
  const size_t keys = args.first_position + rows;
  const Values latents = expanded_latents(args, keys);
  Values out(rows * args.heads * args.v, 0.0);
  for (size_t head = 0; head < args.heads; ++head) {
    Values expanded(keys * (args.nope + args.v));  // [keys, nope + v]
    for (size_t key = 0; key < keys; ++key) {
      for (size_t i = 0; i < args.nope + args.v; ++i) {
        expanded[key * (args.nope + args.v) + i] =
            dot(kv_b_row(args, head, i), View(latents).subspan(key * args.latent, args.latent));
      }
    }
    expanded = stored(std::move(expanded), args.precision);
    for (size_t row = 0; row < rows; ++row) {
      const View query = query_of(args, row, head);
      Values scores(args.first_position + row + 1);
      for (size_t key = 0; key < scores.size(); ++key) {
        const View nope_key = View(expanded).subspan(key * (args.nope + args.v), args.nope);
        scores[key] = args.scale * (dot(query.first(args.nope), nope_key) +
                                    dot(query.subspan(args.nope), rope_key_of(args, key)));
      }
      to_probabilities(scores, args.precision);
      for (size_t key = 0; key < scores.size(); ++key) {
        for (size_t i = 0; i < args.v; ++i) {
          out[(row * args.heads + head) * args.v + i] +=
              scores[key] * expanded[key * (args.nope + args.v) + args.nope + i];
        }
      }
    }
  }
  return out;
}

Values attend_absorbed(const AttendArgs& args) {
  check(args);
  const size_t rows = args.query.size() / (args.heads * (args.nope + args.rope));
  Values out(rows * args.heads * args.v, 0.0);
  for (size_t head = 0; head < args.heads; ++head) {
    for (size_t row = 0; row < rows; ++row) {
      const View query = query_of(args, row, head);
      Values latent_query(args.latent, 0.0);
      for (size_t i = 0; i < args.nope; ++i) {
        const View weight = kv_b_row(args, head, i);
        for (size_t l = 0; l < args.latent; ++l) latent_query[l] += query[i] * weight[l];
      }
      if (args.precision.bf16_operands) {
        for (double& value : latent_query)
          value = static_cast<double>(bf16_round(static_cast<float>(value)));
      }
      Values scores(args.first_position + row + 1);
      for (size_t key = 0; key < scores.size(); ++key) {
        scores[key] = args.scale * (dot(latent_query, latent_of(args, key)) +
                                    dot(query.subspan(args.nope), rope_key_of(args, key)));
      }
      to_probabilities(scores, args.precision);
      Values latent_out(args.latent, 0.0);
      for (size_t key = 0; key < scores.size(); ++key) {
        const View latent = latent_of(args, key);
        for (size_t l = 0; l < args.latent; ++l) latent_out[l] += scores[key] * latent[l];
      }
      for (size_t i = 0; i < args.v; ++i) {
        out[(row * args.heads + head) * args.v + i] =
            dot(kv_b_row(args, head, args.nope + i), latent_out);
      }
    }
  }
  return out;
}

static Values rotated(View x, std::span<const int32_t> positions, const RopeParams& params) {
  const std::vector<float> inv_freq = rope_inv_freq(params);
  const double magnitude = rope_magnitude(params);
  return params.interleaved ? rope(x, positions, inv_freq, magnitude)
                            : rope_half_split(x, positions, inv_freq, magnitude);
}

// x -> [rows, heads, nope + rope], the rope part rotated.
static Values project_query(View x, const MlaParams& params, const MlaWeights& weights,
                            std::span<const int32_t> positions) {
  const size_t dim = params.nope + params.rope;
  Values query;
  const Precision& precision = weights.precision;
  if (weights.q_a.empty()) {
    query = project(x, weights.q, params.hidden, params.heads * dim, precision);
  } else {
    const Values low = project(x, weights.q_a, params.hidden, params.q_lora, precision);
    query = project(stored(rms_norm(low, weights.q_a_norm, params.norm_eps), precision),
                    weights.q_b, params.q_lora, params.heads * dim, precision);
  }
  const size_t vectors = positions.size() * params.heads;
  Values part(vectors * params.rope);
  for (size_t i = 0; i < vectors; ++i) {
    std::copy_n(query.begin() + static_cast<std::ptrdiff_t>(i * dim + params.nope), params.rope,
                part.begin() + static_cast<std::ptrdiff_t>(i * params.rope));
  }
  part = rotated(part, positions, params.rotary);
  for (size_t i = 0; i < vectors; ++i) {
    std::copy_n(part.begin() + static_cast<std::ptrdiff_t>(i * params.rope), params.rope,
                query.begin() + static_cast<std::ptrdiff_t>(i * dim + params.nope));
  }
  return stored(std::move(query), precision);
}

// x -> [rows, latent + rope]: the normed latent and the rotated rope key, as they are cached.
static Values project_cache(View x, const MlaParams& params, const MlaWeights& weights,
                            std::span<const int32_t> positions) {
  const size_t dim = params.latent + params.rope;
  const Values projected = project(x, weights.kv_a, params.hidden, dim, weights.precision);
  Values cache;
  for (size_t row = 0; row < positions.size(); ++row) {
    const View all = View(projected).subspan(row * dim, dim);
    Values latent = rms_norm(all.first(params.latent), weights.kv_a_norm, params.norm_eps);
    if (weights.precision.f8_latents) latent = quantise_latents(latent, params.latent).values();
    const Values key =
        rotated(all.subspan(params.latent), positions.subspan(row, 1), params.rotary);
    cache.insert(cache.end(), latent.begin(), latent.end());
    cache.insert(cache.end(), key.begin(), key.end());
  }
  return stored(std::move(cache), weights.precision);
}

Values mla_forward(View x, const MlaParams& params, const MlaWeights& weights) {
  const size_t rows = x.size() / params.hidden;
  std::vector<int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 0);
  const Values query = project_query(x, params, weights, positions);
  const Values cache = project_cache(x, params, weights, positions);
  AttendArgs args;
  args.query = query;
  args.cache = cache;
  args.kv_b = weights.kv_b;
  args.heads = params.heads;
  args.nope = params.nope;
  args.rope = params.rope;
  args.v = params.v;
  args.latent = params.latent;
  args.scale = softmax_scale(params.nope + params.rope, params.rotary);
  args.precision = weights.precision;
  const Values heads =
      stored(params.absorbed ? attend_absorbed(args) : attend_naive(args), weights.precision);
  return project(heads, weights.o, params.heads * params.v, params.hidden, weights.precision);
}

}  // namespace dsv3::reference
