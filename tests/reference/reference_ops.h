// What should every operation of the model give? Plain loops in double precision, one function per
// step, readable beside the formulas. Never optimised; shares nothing with the library but dtypes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace dsv3::reference {

using Values = std::vector<double>;
using View = std::span<const double>;

// Rounding points that a step shares with the library; none of them by default.
struct Precision {
  bool bf16 = false;           // results are stored in BF16 where spec §4.1 says so
  bool quantise = false;       // inputs of linears are quantised 1x128 (reference_quant.h)
  bool f8_latents = false;     // so are cached latents, with powers of two as scales
  bool bf16_operands = false;  // attention multiplies absorbed queries and probabilities in BF16
};
// x as it is, or rounded to BF16.
Values stored(Values x, const Precision& precision);

// ---- Rows -------------------------------------------------------------------------------------
// All arrays are row-major. Rows are counted from the sizes of the arguments.

// y = w * x / sqrt(mean(x^2) + eps) over each row. x [rows, width], weight [width].
Values rms_norm(View x, View weight, double eps);

struct AddNormResult {
  Values normed;    // [rows, width]: rms_norm(sum)
  Values residual;  // [rows, width]: the sum, unrounded
};
// x, residual [rows, width], weight [width].
AddNormResult add_norm(View x, View residual, View weight, double eps);

// y = x @ w^T. x [rows, in], w [out, in] -> [rows, out].
Values linear(View x, View w, size_t in, size_t out);

// W[r,c] = e4m3(bytes[r,c]) * scales[r div 128, c div 128]; the last block of a row or a column may
// be cut. bytes [rows, columns], scales [ceil(rows/block), ceil(columns/block)] -> [rows, columns].
struct Fp8Weight {
  std::span<const uint8_t> bytes;
  std::span<const float> scales;
  size_t rows = 0;
  size_t columns = 0;
  size_t block = 128;
};
Values dequantize_fp8(const Fp8Weight& weight);

// linear or linear_1x128, stored.
Values project(View x, View w, size_t in, size_t out, const Precision& precision);

// gate, up [rows, width] -> silu(gate) * up.
Values swiglu(View gate, View up);

// (silu(x @ gate^T) * (x @ up^T)) @ down^T.
struct ExpertWeights {
  View gate;  // [width, hidden]
  View up;    // [width, hidden]
  View down;  // [hidden, width]
  Precision precision = {};
};
// x [rows, hidden] -> [rows, hidden].
Values expert_forward(View x, const ExpertWeights& weights, size_t hidden);

// ---- RoPE and YaRN ----------------------------------------------------------------------------

struct RopeParams {
  size_t dim = 64;
  double theta = 10000.0;
  bool yarn = false;  // the fields below are read only when true
  double factor = 1.0;
  double original_max_position = 4096.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 1.0;
  double mscale_all_dim = 0.0;
  bool interleaved = true;  // false: element i is paired with i + dim / 2 (rope_interleave: false)
};

struct YarnRange {
  double corr_fast;  // corr(beta_fast)
  double corr_slow;  // corr(beta_slow)
  double low;
  double high;  // not yet widened when equal to low
};
YarnRange yarn_range(const RopeParams& params);
// g(F, m) = 1 if F <= 1 else 0.1 m ln F + 1.
double yarn_magnitude(double factor, double mscale);

// [dim / 2], computed in double and rounded once: the table is FP32 by definition.
std::vector<float> rope_inv_freq(const RopeParams& params);
// The factor on cos and sin: g(F, mscale) / g(F, mscale_all_dim); 1 for every known checkpoint.
double rope_magnitude(const RopeParams& params);
// (nope + rope)^-0.5, times g(F, mscale_all_dim)^2 under YaRN with a non-zero mscale_all_dim.
double softmax_scale(size_t query_dim, const RopeParams& params);

// Rotates the adjacent pairs (2i, 2i+1) of each of the `heads` vectors of row t by
// float(positions[t]) * inv_freq[i] (an FP32 product). x [rows, heads, 2 * inv_freq.size()].
Values rope(View x, std::span<const int32_t> positions, std::span<const float> inv_freq,
            double magnitude = 1.0);
// The same rotation of the pairs (i, i + dim / 2).
Values rope_half_split(View x, std::span<const int32_t> positions, std::span<const float> inv_freq,
                       double magnitude = 1.0);

// ---- Attention --------------------------------------------------------------------------------

struct AttendArgs {
  View query;  // [rows, heads, nope + rope], the rope part rotated
  View cache;  // [keys, latent + rope]: the normed latent, then the rotated shared rope key
  View kv_b;   // [heads * (nope + v), latent]: per head the key rows, then the value rows
  size_t heads = 0;
  size_t nope = 0;
  size_t rope = 0;
  size_t v = 0;
  size_t latent = 0;
  size_t first_position = 0;  // row i sees keys 0 .. first_position + i
  double scale = 1.0;
  Precision precision = {};  // the naive form stores expanded keys and values, of quantised latents
};
// Both -> [rows, heads * v]. Equal in exact arithmetic.
Values attend_naive(const AttendArgs& args);     // expands every cached row through kv_b
Values attend_absorbed(const AttendArgs& args);  // moves kv_b to the query and the output

struct MlaWeights {
  View q_a;        // [q_lora, hidden]; empty: no low-rank query
  View q_a_norm;   // [q_lora]
  View q_b;        // [heads * (nope + rope), q_lora]
  View q;          // [heads * (nope + rope), hidden]; only without q_a
  View kv_a;       // [latent + rope, hidden]
  View kv_a_norm;  // [latent]
  View kv_b;       // [heads * (nope + v), latent]
  View o;          // [hidden, heads * v]
  Precision precision = {};
};
struct MlaParams {
  size_t hidden = 0;
  size_t heads = 0;
  size_t q_lora = 0;  // 0: none
  size_t latent = 0;
  size_t nope = 0;
  size_t rope = 0;
  size_t v = 0;
  double norm_eps = 1e-6;  // of the two low-rank norms
  RopeParams rotary;
  bool absorbed = false;
};
// x [rows, hidden] at positions 0 .. rows - 1 of one sequence -> [rows, hidden].
Values mla_forward(View x, const MlaParams& params, const MlaWeights& weights);

// ---- Mixture of experts -----------------------------------------------------------------------

struct RouterParams {
  size_t experts = 0;
  size_t top_k = 0;
  size_t groups = 1;
  size_t topk_groups = 1;
  bool norm_topk = true;
  double scaling = 1.0;
};
struct Routing {
  std::vector<int32_t> experts;  // [top_k], best first; ties: the lower index first
  Values weights;                // [top_k], normalised and scaled
  // The smaller gap between the last kept and the first dropped score, of groups and of experts
  // (infinity when nothing could have been dropped).
  double margin = 0.0;
  bool has_nan = false;  // a logit was NaN: it counted as -inf
};
// logits, bias [experts] of one token. The bias enters the selection only.
Routing route(View logits, View bias, const RouterParams& params);

struct MoeWeights {
  View router;                         // [experts, hidden]
  View bias;                           // [experts]
  std::vector<ExpertWeights> experts;  // [experts]
  ExpertWeights shared;                // empty views: no shared experts
};
// x [rows, hidden] -> [rows, hidden]: the weighted routed experts plus the unscaled shared one.
// `margins`, when given, gets each row's Routing::margin. [rows]
Values moe_forward(View x, size_t hidden, const RouterParams& params, const MoeWeights& weights,
                   Values* margins = nullptr);

}  // namespace dsv3::reference
