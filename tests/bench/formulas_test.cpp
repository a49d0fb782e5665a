// Do the formulas give the figures that are known of two shapes? Hand-computed counts, and what
// holds for every shape: limits, monotony, the parts that make up a whole.
#include "formulas.h"

#include <gtest/gtest.h>

namespace dsv3::bench {
namespace {

ModelConfig mini() {
  ModelConfig config;
  config.vocab = 32768;
  config.hidden = 1024;
  config.layers = 12;
  config.query_rank = 512;
  config.mla = {.heads = 16, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512};
  config.dense_width = 2816;
  config.first_dense_layers = 1;
  config.expert_width = 512;
  config.shared_experts = 1;
  config.router.experts = 64;
  config.router.experts_per_token = 6;
  return config;
}

ModelConfig moonlight12() {
  ModelConfig config = mini();
  config.hidden = 2048;
  config.query_rank = 0;
  config.dense_width = 11264;
  config.expert_width = 1408;
  config.shared_experts = 2;
  return config;
}

StoredBytes bf16() { return stored_bytes(mini(), false, false); }

TEST(Formulas, CountsTheWeightsThatOneTokenReads) {
  // 246.7 M and 1064.2 M without vectors, counted tensor by tensor when the models are made.
  const auto all = [](const ModelConfig& config) {
    const ActiveWeights w = active_weights(config);
    return w.attention + w.dense + w.shared + w.router + w.expert * w.experts_used + w.head;
  };
  EXPECT_NEAR(all(mini()), 246.7e6, 0.1e6);
  EXPECT_NEAR(all(moonlight12()), 1064.2e6, 0.1e6);
}

TEST(Formulas, ReadsHalfAGigabyteAtBatchOneAndThreeTimesThatAtEight) {
  EXPECT_NEAR(decode_cost(mini(), bf16(), 1, 0).bytes, 0.4934e9, 0.001e9);
  EXPECT_NEAR(decode_cost(mini(), bf16(), 8, 0).bytes, 1.493e9, 0.002e9);
}

TEST(Formulas, ContextAddsItsProductsAndItsLatents) {
  const Cost empty = decode_cost(mini(), bf16(), 1, 0);
  const Cost full = decode_cost(mini(), bf16(), 1, 2048);
  EXPECT_NEAR(full.operations - empty.operations, 0.8556e9, 0.001e9);
  EXPECT_DOUBLE_EQ(full.bytes - empty.bytes, 12.0 * 2048 * 1152);
  EXPECT_DOUBLE_EQ(full.attention_bytes, full.bytes - empty.bytes);
  EXPECT_EQ(empty.attention_ops, 0.0);
}

TEST(Formulas, Fp8HalvesProjectionsAndNothingElse) {
  const StoredBytes fp8 = stored_bytes(mini(), true, false);
  const ActiveWeights w = active_weights(mini());
  const double projections = w.attention + w.dense + w.shared + w.expert * w.experts_used;
  EXPECT_NEAR(decode_cost(mini(), bf16(), 1, 100).bytes - decode_cost(mini(), fp8, 1, 100).bytes,
              projections * (1.0 - 4.0 / 16384), 1.0);
  EXPECT_DOUBLE_EQ(stored_bytes(mini(), false, true).latent_row, 656.0);
}

TEST(Formulas, ExpertsTouchedGrowFromKToAll) {
  EXPECT_DOUBLE_EQ(expected_experts(64, 6, 1), 6.0);
  EXPECT_NEAR(expected_experts(64, 6, 2), 12.0 - 36.0 / 64, 1e-12);
  EXPECT_NEAR(expected_experts(64, 6, 1000), 64.0, 1e-9);
  EXPECT_EQ(expected_experts(0, 0, 5), 0.0);
}

TEST(Formulas, PromptCountsPairsAndOneHead) {
  const Cost one = prefill_cost(mini(), bf16(), 1, 1, 0);
  const ActiveWeights w = active_weights(mini());
  const double per_token =
      2.0 * (w.attention + w.dense + w.shared + w.router + w.expert * w.experts_used);
  const double pair = 2.0 * 16 * (128 + 64 + 128) * 12;
  EXPECT_DOUBLE_EQ(one.operations, per_token + 2.0 * w.head + pair);
  // Two halves of a prompt do the pairs of the whole, a second head, and expand the context again.
  const double whole = prefill_cost(mini(), bf16(), 1, 512, 0).operations;
  const double halves = prefill_cost(mini(), bf16(), 1, 256, 0).operations +
                        prefill_cost(mini(), bf16(), 1, 256, 256).operations;
  EXPECT_NEAR(halves - whole, 2.0 * w.head + 2.0 * 256 * w.kv_b, 1.0);
  EXPECT_DOUBLE_EQ(prefill_cost(mini(), bf16(), 3, 512, 0).operations, 3.0 * whole);
}

TEST(Formulas, DenseModelsHaveNoExperts) {
  ModelConfig config = mini();
  config.router = {};
  const ActiveWeights w = active_weights(config);
  EXPECT_EQ(w.expert, 0.0);
  EXPECT_EQ(w.router, 0.0);
  EXPECT_DOUBLE_EQ(w.dense, 12.0 * 3 * 1024 * 2816);
}

}  // namespace
}  // namespace dsv3::bench
