// The arguments of every operation: one struct per op, shapes in comments, pointers into device
// memory.
//
// Letters: T rows of the ragged batch, H hidden, N heads, dn/dr/dv nope, rope and value head
// widths, Rq/Rkv query and latent rank, E experts, K experts per token, M expert width, V
// vocabulary. "act" is the activation dtype of the context: BF16, or F32 for checkpoints stored in
// F32 or F16.
#pragma once

#include <cstdint>
#include <limits>

#include "base/dtype.h"

namespace dsv3 {

inline constexpr uint32_t kPageTokens = 64;      // tokens per page of the latent cache
inline constexpr uint32_t kBlock = 128;          // edge of an FP8 scale block (spec §4.3)
inline constexpr uint32_t kTopLogprobsMax = 20;  // log-probabilities reported beside the chosen one

// A matrix of activations: `rows` rows of `cols` elements, `stride` elements apart. BF16 or F32.
struct Rows {
  void* data = nullptr;
  DType dtype = DType::kBF16;
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;
};

struct ConstRows {
  const void* data = nullptr;
  DType dtype = DType::kBF16;
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;

  ConstRows() = default;
  ConstRows(const void* data_in, DType dtype_in, uint32_t rows_in, uint32_t cols_in,
            uint64_t stride_in)
      : data(data_in), dtype(dtype_in), rows(rows_in), cols(cols_in), stride(stride_in) {}
  // Implicit: a view may lose its right to write.
  ConstRows(const Rows& view)  // NOLINT
      : ConstRows(view.data, view.dtype, view.rows, view.cols, view.stride) {}
};

// A weight as Device::load made it: [rows, cols], or [1, cols] for vectors. Opaque to the model.
struct Weight {
  const void* data = nullptr;
  DType dtype = DType::kBF16;  // BF16, F32, F16, F8E4M3
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint64_t stride = 0;            // elements between rows
  const float* scales = nullptr;  // [ceil(rows/128), ceil(cols/128)], F8E4M3 only: multipliers
  uint64_t scale_stride = 0;      // elements between rows of scales
  bool present() const { return data != nullptr; }
};

// Which of the two exact forms of MLA a token uses. It is a property of the token's origin, never
// of the batch it happens to be in (design §10): prompt tokens unabsorbed, generated tokens
// absorbed.
enum class AttentionForm : uint8_t { kUnabsorbed = 0, kAbsorbed = 1 };

// Consecutive rows of one sequence, all of one form.
struct BatchSpan {
  uint32_t row_begin = 0;
  uint32_t row_count = 0;
  uint32_t position_begin = 0;  // of row_begin; row r attends keys 0 .. position_begin + r
  AttentionForm form = AttentionForm::kUnabsorbed;
  const int32_t* pages = nullptr;  // [ceil((position_begin + row_count) / 64)] page numbers
};

// The ragged batch of one pass: prefill chunks, decoded tokens and drafts differ only in row
// counts. Spans cover rows 0 .. rows-1 in order; two spans of one sequence stand in position order.
struct Batch {
  uint32_t rows = 0;
  const int32_t* tokens = nullptr;      // [rows]
  const uint32_t* positions = nullptr;  // [rows]
  const BatchSpan* spans = nullptr;     // [span_count]
  uint32_t span_count = 0;
};

// One layer of the paged latent cache: [pages][64][Rkv + dr], act dtype.
struct LatentPages {
  void* data = nullptr;
  DType dtype = DType::kBF16;
  uint32_t page_count = 0;
  uint32_t width = 0;        // Rkv + dr
  uint64_t page_stride = 0;  // elements between pages
};

struct MlaShape {
  uint32_t heads = 0;        // N
  uint32_t nope_dim = 0;     // dn
  uint32_t rope_dim = 0;     // dr, even
  uint32_t value_dim = 0;    // dv
  uint32_t latent_rank = 0;  // Rkv
};

struct Rope {
  const float* inv_freq = nullptr;  // [dr/2], spec §2.4
  float magnitude = 1.0f;           // multiplies cos and sin
};

// out[t, :] = act(table[tokens[t], :])
struct EmbedArgs {
  const int32_t* tokens = nullptr;  // [T], each in [0, V)
  Weight table;                     // [V, H]
  Rows out;                         // [T, H]
};

// s = float(h) + float(residual); out = act(w * s / sqrt(mean(s^2) + eps)); residual = act(s).
// With h.data null, s = float(residual) and the residual is left alone. All in FP32 (spec §4.1).
struct AddNormArgs {
  ConstRows h;    // [T, H] or null
  Rows residual;  // [T, H], read and written
  Weight weight;  // [1, H]
  float eps = 1e-6f;
  Rows out;  // [T, H]
};

// out = act(w * x / sqrt(mean(x^2) + eps)) over the first weight.cols columns of x. out may alias
// x.
struct RmsNormArgs {
  ConstRows x;    // [T, >= C]
  Weight weight;  // [1, C]
  float eps = 1e-6f;
  Rows out;  // [T, C]
};

// y = x W^T, FP32 accumulation, one rounding to y's dtype (act or F32). F8: the FP32 partial sum of
// each 128 columns is multiplied by its block's scale (spec §4.5 without activation quantisation).
struct LinearArgs {
  ConstRows x;    // [T, in]
  Weight weight;  // [out, in]
  Rows y;         // [T, out]
};

// Rotates the rope part of every query head in place (adjacent pairs, spec §2.3) and appends
// [RMSNorm(z[:Rkv]) ; RoPE(z[Rkv:])] of each row to its sequence's page (spec §2.2, trap T8).
struct MlaAppendArgs {
  MlaShape shape;
  Rope rope;
  Batch batch;
  Rows q;              // [T, N*(dn+dr)], read and written
  ConstRows z;         // [T, Rkv+dr]
  Weight latent_norm;  // [1, Rkv]
  float eps = 1e-6f;
  LatentPages pages;
};

// softmax(scale * q k^T) v over the cached latents of each row's sequence, causal; FP32 softmax,
// pages ascending. Unabsorbed: keys and values are expanded through kv_b and rounded to act.
// Absorbed: the query goes through W_UK and the result through W_UV (spec §2.5).
struct MlaAttendArgs {
  MlaShape shape;
  Batch batch;
  ConstRows q;  // [T, N*(dn+dr)], rotated
  Weight kv_b;  // [N*(dn+dv), Rkv], per head W_UK then W_UV
  LatentPages pages;
  float scale = 1.0f;  // spec §2.4 correction 2 included
  Rows out;            // [T, N*dv]
};

struct RouterShape {
  uint32_t experts = 0;            // E
  uint32_t experts_per_token = 0;  // K
  uint32_t groups = 1;             // G, divides E
  uint32_t groups_kept = 1;        // topk_group
  bool normalise = true;           // norm_topk_prob
  float scaling = 1.0f;            // routed_scaling_factor
};

// Spec §3.3: FP32 logits and sigmoid, the bias for selection only, dropped groups -inf, ties to the
// lower index, NaN logits count as -inf. ids of a row are in descending selection score.
struct RouteArgs {
  RouterShape shape;
  ConstRows x;                        // [T, H]
  Weight gate;                        // [E, H]
  const float* bias = nullptr;        // [E] or null (all zero)
  int32_t* ids = nullptr;             // [T, K]
  float* weights = nullptr;           // [T, K], normalised and scaled
  uint64_t* expert_tokens = nullptr;  // [E] load counters, added to; may be null
  uint32_t* nan_count = nullptr;      // added to for every NaN logit; may be null
};

struct ExpertWeights {
  Weight gate;  // [M, H]
  Weight up;    // [M, H]
  Weight down;  // [H, M]
};

// hidden[t*K + k, :] = act(silu(g) * u), g = act(x_t gate^T), u = act(x_t up^T) of expert ids[t,
// k].
struct ExpertGateUpArgs {
  ConstRows x;                             // [T, H]
  const int32_t* ids = nullptr;            // [T, K], each in [0, expert_count)
  uint32_t experts_per_token = 0;          // K
  const ExpertWeights* experts = nullptr;  // [expert_count]
  uint32_t expert_count = 0;
  Rows hidden;  // [T*K, M]
};

// y[t*K + k, :] = act(hidden[t*K + k, :] down^T) of expert ids[t, k].
struct ExpertDownArgs {
  ConstRows hidden;                        // [T*K, M]
  const int32_t* ids = nullptr;            // [T, K]
  uint32_t experts_per_token = 0;          // K
  const ExpertWeights* experts = nullptr;  // [expert_count]
  uint32_t expert_count = 0;
  Rows y;  // [T*K, H]
};

// out[t, :] = act( sum over k ascending of weights[t, k] * float(y[t*K + k, :]) + float(shared[t,
// :]) )
struct ExpertCombineArgs {
  ConstRows y;                     // [T*K, H]
  const float* weights = nullptr;  // [T, K]
  uint32_t experts_per_token = 0;  // K
  ConstRows shared;                // [T, H] or null
  Rows out;                        // [T, H]
};

// out = act(silu(float(gate)) * float(up)); out may alias gate or up.
struct SwigluArgs {
  ConstRows gate;  // [T, I]
  ConstRows up;    // [T, I]
  Rows out;        // [T, I]
};

// out[out_rows ? out_rows[i] : i, :] = x[x_rows ? x_rows[i] : i, :] for i < count. Same dtype.
struct CopyRowsArgs {
  ConstRows x;
  const uint32_t* x_rows = nullptr;
  Rows out;
  const uint32_t* out_rows = nullptr;
  uint32_t count = 0;
};

struct LogitBias {
  int32_t token = 0;
  float bias = 0.0f;  // -infinity bans the token
};

// How the token at `position` of one sequence is drawn. Order: penalties, bias, mask, temperature,
// top-k, top-p, min-p, then the draw. Everything in FP32/FP64, ties to the lower token id.
struct SampleRow {
  uint32_t position = 0;  // of the token to draw: the counter of the random number
  uint64_t seed = 0;
  float temperature = 0.0f;          // 0 = greedy
  uint32_t top_k = 0;                // 0 = off
  float top_p = 1.0f;                // 1 = off; keeps the smallest set with probability >= top_p
  float min_p = 0.0f;                // 0 = off; keeps p >= min_p * p_max
  float repetition_penalty = 1.0f;   // every token of history, divided (> 0) or multiplied (< 0)
  float presence_penalty = 0.0f;     // subtracted once for tokens of history[generated_begin ..)
  float frequency_penalty = 0.0f;    // subtracted per occurrence there
  const int32_t* history = nullptr;  // [history_count]
  uint32_t history_count = 0;
  uint32_t generated_begin = 0;
  const LogitBias* biases = nullptr;  // [bias_count], tokens in [0, V)
  uint32_t bias_count = 0;
  const uint32_t* allowed = nullptr;  // bitset of V bits, or null = all
  uint32_t vocab_limit = 0;           // ids >= this are never drawn; 0 = V (trap T43)
  uint32_t top_logprobs = 0;          // <= kTopLogprobsMax
};

struct SampleResult {
  int32_t token = -1;  // -1: no token had a finite logit (NaN model output or everything masked)
  uint32_t top_count = 0;
  float logprob = 0.0f;  // log softmax of the raw logits (before any of the above) at `token`
  int32_t top_tokens[kTopLogprobsMax] = {};
  float top_logprobs[kTopLogprobsMax] = {};
};

struct SampleArgs {
  ConstRows logits;                 // [R, V] F32; row i belongs to rows[i]; not modified
  const SampleRow* rows = nullptr;  // [R]
  SampleResult* results = nullptr;  // [R]
};

}  // namespace dsv3
