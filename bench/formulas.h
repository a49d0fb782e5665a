// How many bytes must a step read, and how many operations must it do? By the model's shape alone:
// what the time of a step is held against.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace dsv3::bench {

// Bytes of one stored element, scales included.
struct StoredBytes {
  double plain = 2.0;       // embedding, head, router
  double projection = 2.0;  // the matrices that official checkpoints store in FP8
  double latent_row = 0.0;  // one token in one layer of the cache
};

// e4m3 and one F32 multiplier for 128 x 128 of them.
inline constexpr double kFp8Bytes = 1.0 + 4.0 / (128.0 * 128.0);

// Elements of weights, of all layers together.
struct ActiveWeights {
  double attention = 0.0;     // q, kv_a, kv_b and o
  double dense = 0.0;         // layers without experts
  double shared = 0.0;        // shared experts
  double router = 0.0;        // [E, H]
  double expert = 0.0;        // ONE routed expert of every layer that has experts
  double experts_used = 0.0;  // per token and layer: K
  double experts = 0.0;       // per layer: E
  double head = 0.0;          // [V, H]
  double kv_b = 0.0;          // part of attention
};
ActiveWeights active_weights(const ModelConfig& config);

// Distinct experts that `rows` tokens touch in one layer, if each takes K of E independently and
// evenly: E * (1 - (1 - K/E)^rows).
double expected_experts(double experts, double used, double rows);

struct Cost {
  double bytes = 0.0;            // read
  double operations = 0.0;       // multiplications and additions of all products
  double attention_ops = 0.0;    // of these: scores and sums over cached tokens
  double attention_bytes = 0.0;  // of the bytes: the cache's
};

// One step of `batch` sequences that each have `context` tokens in the cache. Bytes: every weight
// once, experts as expected_experts, the cache of each sequence once; rows of the embedding too.
// Operations: 2 a weight element and token (the absorbed form goes through kv_b once, in two
// halves), and 2 * N * context * (Rkv + dr + Rkv) a layer and token.
Cost decode_cost(const ModelConfig& config, const StoredBytes& stored, double batch,
                 double context);

// `tokens` prompt tokens of each of `batch` sequences after `context` cached ones, in one pass.
// Operations: 2 a weight element and token without the head, the head once a sequence, the
// expansion of each latent of the context through kv_b once, and 2 * N * (dn + dr + dv) for every
// pair of a token and a key at or before it. Bytes: every weight that they touch once, the cache.
Cost prefill_cost(const ModelConfig& config, const StoredBytes& stored, double batch, double tokens,
                  double context);

// What the weights of a folder take: of a config, and of whether projections are FP8.
StoredBytes stored_bytes(const ModelConfig& config, bool is_fp8, bool cache_is_fp8);

}  // namespace dsv3::bench
