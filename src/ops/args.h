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

// Rows quantised for FP8 products (profile 1x128, spec §4.4): e4m3 codes [rows, cols], zero up to
// `stride`, and one FP32 scale per row and 128 columns, `scale_stride` apart. Of the stored values
// x: scale = max(max|x|, 1e-4) / 448, code = e4m3(x / scale), both IEEE divisions in FP32.
struct QuantRows {
  uint8_t* codes = nullptr;
  float* scales = nullptr;
  uint64_t stride = 0;        // of codes: cols rounded up to 128
  uint64_t scale_stride = 0;  // at least stride / 128
  bool present() const { return codes != nullptr; }
};

// What the input of a linear with FP8 weights is multiplied as (design §10): as it is, or quantised
// 1x128 first. A property of the whole context.
enum class ActivationQuant : uint8_t { kNone = 0, k1x128 = 1 };

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
// Arrays are device memory; what the host must know to choose a launch stands beside them.
struct Batch {
  uint32_t rows = 0;
  const int32_t* tokens = nullptr;      // [rows]
  const uint32_t* positions = nullptr;  // [rows]
  const BatchSpan* spans = nullptr;     // [span_count]
  uint32_t span_count = 0;
  const uint32_t* row_spans = nullptr;  // [rows] index of each row's span
  // --- host
  uint32_t unabsorbed_rows = 0;           // rows in unabsorbed spans
  const BatchSpan* host_spans = nullptr;  // `spans` for the host; their `pages` are device memory
};

// One layer of the paged latent cache. BF16 or F32: [pages][64][Rkv + dr]. F8E4M3 (design §5), per
// page and in bytes: [64][Rkv] e4m3 | [64][dr] BF16 | [64][ceil(Rkv/128)] F32 powers of two. Each
// 128 BF16 values v a BF16 page would hold: scale = the power of two at or above max(max|v|, 1e-4)
// / 448 (its exponent bits, spec §4.4), code = e4m3(v / scale). Ops read code * scale, exact in
// BF16.
struct LatentPages {
  void* data = nullptr;
  DType dtype = DType::kBF16;
  uint32_t page_count = 0;
  uint32_t width = 0;        // Rkv + dr
  uint64_t page_stride = 0;  // elements (bytes when F8E4M3) between pages
};

struct MlaShape {
  uint32_t heads = 0;        // N
  uint32_t nope_dim = 0;     // dn
  uint32_t rope_dim = 0;     // dr, even
  uint32_t value_dim = 0;    // dv
  uint32_t latent_rank = 0;  // Rkv
};

// Bytes of one F8E4M3 page of the latent cache.
inline uint64_t latent_page_bytes_f8(const MlaShape& shape) {
  const uint64_t scales = (uint64_t{shape.latent_rank} + kBlock - 1) / kBlock;
  return kPageTokens * (shape.latent_rank + 2 * uint64_t{shape.rope_dim} + 4 * scales);
}

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

// Makes the tokens of a batch and the token history of its sequences agree. For each row t with
// tokens[t] >= 0: history[slots[t], positions[t]] = tokens[t]; for the others, whose token an
// earlier pass drew (SampleRow::drawn): tokens[t] = history[slots[t], positions[t]]. One sequence's
// rows of the second kind read what was there before the call.
struct TakeTokensArgs {
  uint32_t rows = 0;                    // T
  int32_t* tokens = nullptr;            // [T], read and written
  const uint32_t* slots = nullptr;      // [T]
  const uint32_t* positions = nullptr;  // [T]
  int32_t* history = nullptr;           // [slots, stride]
  uint64_t stride = 0;
};

// s = float(h) + float(residual); out = act(w * s / sqrt(mean(s^2) + eps)); residual = act(s).
// With h.data null, s = float(residual) and the residual is left alone. All in FP32 (spec §4.1).
struct AddNormArgs {
  ConstRows h;    // [T, H] or null
  Rows residual;  // [T, H], read and written
  Weight weight;  // [1, H]
  float eps = 1e-6f;
  Rows out;                  // [T, H]
  QuantRows out_codes = {};  // out, quantised too; only for Ops that want codes
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
// each 128 columns is multiplied by its block's scale. Profile 1x128 with F8 weights: x is
// quantised first, the partial sum of code products is multiplied by both scales (spec §4.5).
struct LinearArgs {
  ConstRows x;             // [T, in]
  QuantRows x_codes = {};  // the same x quantised, if some op made it; never needed
  Weight weight;           // [out, in]
  Rows y;                  // [T, out]
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
// k]. With `shared`, the same of the shared expert for every row, into shared_hidden.
struct ExpertGateUpArgs {
  ConstRows x;                             // [T, H]
  QuantRows x_codes = {};                  // as in LinearArgs
  const int32_t* ids = nullptr;            // [T, K], each in [0, expert_count)
  uint32_t experts_per_token = 0;          // K
  const ExpertWeights* experts = nullptr;  // [expert_count], device memory
  uint32_t expert_count = 0;
  Rows hidden;  // [T*K, M]
  // Only for Ops that takes_shared_expert().
  const ExpertWeights* shared = nullptr;  // one, host memory; null: none
  Rows shared_hidden = {};                // [T, S*M]
};

// y[t*K + k, :] = act(hidden[t*K + k, :] down^T) of expert ids[t, k]. With `shared`, the same of
// the shared expert for every row of shared_hidden.
struct ExpertDownArgs {
  ConstRows hidden;                        // [T*K, M]
  const int32_t* ids = nullptr;            // [T, K]
  uint32_t experts_per_token = 0;          // K
  const ExpertWeights* experts = nullptr;  // [expert_count], device memory
  uint32_t expert_count = 0;
  Rows y;  // [T*K, H]
  // Only for Ops that takes_shared_expert().
  const ExpertWeights* shared = nullptr;  // one, host memory; null: none
  ConstRows shared_hidden = {};           // [T, S*M]
  Rows shared_y = {};                     // [T, H]
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
  int32_t* drawn = nullptr;           // also gets the token (0 for -1); may be null
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
  const SampleRow* rows = nullptr;  // [R], device memory, as all they point to
  SampleResult* results = nullptr;  // [R], device memory
};

}  // namespace dsv3
