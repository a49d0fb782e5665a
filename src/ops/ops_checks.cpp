#include "ops/ops_checks.h"

#include "base/checked.h"
#include "base/error.h"

namespace dsv3 {
namespace {

// One operation's checks; every message starts with the operation and the argument.
class Check {
 public:
  explicit Check(const char* op) : op_(op) {}

  // The parts say what was found and what was wanted; they become text only on failure.
  template <typename... Parts>
  void require(bool holds, const char* argument, const Parts&... found_and_wanted) const {
    if (!holds) fail(Status::kInternal, op_, ": ", argument, " is ", found_and_wanted...);
  }

  void equal(uint64_t found, uint64_t wanted, const char* argument) const {
    require(found == wanted, argument, found, ", wanted ", wanted);
  }

  void pointer(const void* data, uint64_t needed, const char* argument) const {
    require(data != nullptr || needed == 0, argument, "null, wanted memory");
  }

  void activation(DType dtype, const char* argument) const {
    require(dtype == DType::kBF16 || dtype == DType::kF32, argument, dtype_name(dtype),
            ", wanted BF16 or F32");
  }

  void same_dtype(DType found, DType wanted, const char* argument) const {
    require(found == wanted, argument, dtype_name(found), ", wanted ", dtype_name(wanted));
  }

  // Pointer, dtype, width and layout of a matrix of activations.
  void matrix(const ConstRows& view, uint64_t cols, const char* argument) const {
    pointer(view.data, view.rows, argument);
    activation(view.dtype, argument);
    require(view.cols == cols, argument, view.cols, " columns wide, wanted ", cols);
    layout(view, argument);
  }

  void layout(const ConstRows& view, const char* argument) const {
    require(view.rows <= 1 || view.stride >= view.cols, argument, "of row stride ", view.stride,
            ", wanted at least ", view.cols);
  }

  void rows(const ConstRows& view, uint64_t wanted, const char* argument) const {
    require(view.rows == wanted, argument, view.rows, " rows high, wanted ", wanted);
  }

  void weight(const Weight& weight, uint64_t rows, uint64_t cols, const char* argument) const {
    require(weight.present(), argument, "absent, wanted a weight");
    const DType dtype = weight.dtype;
    const bool is_f8 = dtype == DType::kF8E4M3;
    require(is_f8 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32,
            argument, dtype_name(dtype), ", wanted BF16, F16, F32 or F8_E4M3");
    require((weight.scales != nullptr) == is_f8, argument,
            is_f8 ? "F8_E4M3 without scales" : "scaled without being F8_E4M3", ", wanted ",
            is_f8 ? "block scales" : "no scales");
    require(weight.rows == rows && weight.cols == cols, argument, "[", weight.rows, ", ",
            weight.cols, "], wanted [", rows, ", ", cols, "]");
    require(rows <= 1 || weight.stride >= cols, argument, "of row stride ", weight.stride,
            ", wanted at least ", cols);
    const uint64_t blocks = ceil_div<uint64_t>(cols, kBlock);
    require(!is_f8 || rows <= kBlock || weight.scale_stride >= blocks, argument, "of scale stride ",
            weight.scale_stride, ", wanted at least ", blocks);
  }

  void positive(uint64_t value, const char* argument) const {
    require(value > 0, argument, value, ", wanted at least 1");
  }

  void mla_shape(const MlaShape& shape) const {
    positive(shape.heads, "shape.heads");
    positive(shape.nope_dim, "shape.nope_dim");
    positive(shape.value_dim, "shape.value_dim");
    positive(shape.latent_rank, "shape.latent_rank");
    require(shape.rope_dim % 2 == 0, "shape.rope_dim", shape.rope_dim, ", wanted an even number");
  }

  void batch(const Batch& batch, uint64_t rows) const {
    pointer(batch.spans, batch.rows, "batch.spans");
    pointer(batch.row_spans, batch.rows, "batch.row_spans");
    pointer(batch.host_spans, batch.rows, "batch.host_spans");
    require(batch.rows == rows, "batch.rows", batch.rows, ", wanted ", rows);
    require((batch.span_count == 0) == (batch.rows == 0) && batch.span_count <= batch.rows,
            "batch.span_count", batch.span_count, ", wanted 1 to ", batch.rows);
    uint32_t next = 0;
    uint64_t unabsorbed = 0;
    for (uint32_t s = 0; s < batch.span_count; ++s) {
      const BatchSpan& span = batch.host_spans[s];
      if (span.row_begin != next || span.row_count == 0 || span.row_count > batch.rows - next) {
        fail(Status::kInternal, op_, ": batch.spans[", s, "] has ", span.row_count, " rows from ",
             span.row_begin, ", wanted 1 to ", batch.rows - next, " rows from ", next);
      }
      next += span.row_count;
      if (span.form == AttentionForm::kUnabsorbed) unabsorbed += span.row_count;
    }
    if (next != batch.rows) {
      fail(Status::kInternal, op_, ": batch.spans cover ", next, " rows, wanted ", batch.rows);
    }
    equal(batch.unabsorbed_rows, unabsorbed, "batch.unabsorbed_rows");
  }

  // Codes of a matrix [.., cols] made by an earlier op.
  void codes(const QuantRows& codes, uint64_t cols, bool wanted, const char* argument) const {
    if (!codes.present()) return;
    require(wanted, argument, "present, wanted none: these operations take no codes");
    require(codes.scales != nullptr, argument, "without scales, wanted memory");
    const uint64_t blocks = ceil_div<uint64_t>(cols, kBlock);
    require(codes.stride == blocks * kBlock, argument, "of row stride ", codes.stride, ", wanted ",
            blocks * kBlock);
    require(codes.scale_stride >= blocks, argument, "of scale stride ", codes.scale_stride,
            ", wanted at least ", blocks);
  }

  void pages(const LatentPages& pages, const MlaShape& shape, DType act) const {
    pointer(pages.data, pages.page_count, "pages");
    const bool is_f8 = pages.dtype == DType::kF8E4M3 && act == DType::kBF16;
    if (!is_f8) same_dtype(pages.dtype, act, "pages");
    equal(pages.width, uint64_t{shape.latent_rank} + shape.rope_dim, "pages.width");
    const uint64_t wanted =
        is_f8 ? latent_page_bytes_f8(shape) : uint64_t{pages.width} * kPageTokens;
    require(pages.page_count <= 1 || pages.page_stride >= wanted, "pages.page_stride",
            pages.page_stride, ", wanted at least ", wanted);
  }

 private:
  const char* op_;
};

constexpr const char* kUnwantedShared =
    "present, wanted none: these operations take the routed experts alone";

uint64_t query_width(const MlaShape& shape) {
  return uint64_t{shape.heads} * (shape.nope_dim + shape.rope_dim);
}

}  // namespace

void check_take_tokens(const TakeTokensArgs& args) {
  const Check check("take_tokens");
  check.pointer(args.tokens, args.rows, "tokens");
  check.pointer(args.slots, args.rows, "slots");
  check.pointer(args.positions, args.rows, "positions");
  check.pointer(args.history, args.rows, "history");
  check.require(args.rows == 0 || args.stride > 0, "stride", args.stride, ", wanted at least 1");
}

void check_embed(const EmbedArgs& args) {
  const Check check("embed");
  check.pointer(args.tokens, args.out.rows, "tokens");
  check.weight(args.table, args.table.rows, args.out.cols, "table");
  check.matrix(args.out, args.table.cols, "out");
}

void check_add_norm(const AddNormArgs& args, bool wants_codes) {
  const Check check("add_norm");
  check.matrix(args.out, args.out.cols, "out");
  check.matrix(args.residual, args.out.cols, "residual");
  check.rows(args.residual, args.out.rows, "residual");
  check.same_dtype(args.residual.dtype, args.out.dtype, "residual");
  if (args.h.data != nullptr) {
    check.matrix(args.h, args.out.cols, "h");
    check.rows(args.h, args.out.rows, "h");
    check.same_dtype(args.h.dtype, args.out.dtype, "h");
  }
  check.weight(args.weight, 1, args.out.cols, "weight");
  check.codes(args.out_codes, args.out.cols, wants_codes, "out_codes");
}

void check_rms_norm(const RmsNormArgs& args) {
  const Check check("rms_norm");
  check.matrix(args.x, args.x.cols, "x");
  check.matrix(args.out, args.weight.cols, "out");
  check.same_dtype(args.out.dtype, args.x.dtype, "out");
  check.rows(args.x, args.out.rows, "x");
  check.require(args.x.cols >= args.weight.cols, "x", args.x.cols,
                " columns wide, wanted at least ", args.weight.cols);
  check.weight(args.weight, 1, args.out.cols, "weight");
}

void check_linear(const LinearArgs& args, bool wants_codes) {
  const Check check("linear");
  check.matrix(args.x, args.weight.cols, "x");
  check.matrix(args.y, args.weight.rows, "y");
  check.require(args.y.dtype == DType::kF32 || args.x.dtype == DType::kBF16, "y",
                "BF16 for x in F32, wanted F32");
  check.rows(args.y, args.x.rows, "y");
  check.weight(args.weight, args.y.cols, args.x.cols, "weight");
  check.codes(args.x_codes, args.x.cols, wants_codes, "x_codes");
}

void check_linears(std::span<const LinearArgs> all, bool wants_codes) {
  const Check check("linears");
  for (const LinearArgs& args : all) {
    check_linear(args, wants_codes);
    check.rows(args.y, all[0].y.rows, "y");
  }
}

void check_mla_append(const MlaAppendArgs& args) {
  const Check check("mla_append");
  const MlaShape& shape = args.shape;
  check.mla_shape(shape);
  check.pointer(args.rope.inv_freq, shape.rope_dim, "rope.inv_freq");
  check.pointer(args.batch.positions, args.batch.rows, "batch.positions");
  check.matrix(args.q, query_width(shape), "q");
  check.matrix(args.z, uint64_t{shape.latent_rank} + shape.rope_dim, "z");
  check.same_dtype(args.z.dtype, args.q.dtype, "z");
  check.rows(args.z, args.q.rows, "z");
  check.batch(args.batch, args.q.rows);
  check.weight(args.latent_norm, 1, shape.latent_rank, "latent_norm");
  check.pages(args.pages, shape, args.q.dtype);
}

void check_mla_attend(const MlaAttendArgs& args) {
  const Check check("mla_attend");
  const MlaShape& shape = args.shape;
  check.mla_shape(shape);
  check.matrix(args.q, query_width(shape), "q");
  check.matrix(args.out, uint64_t{shape.heads} * shape.value_dim, "out");
  check.same_dtype(args.out.dtype, args.q.dtype, "out");
  check.rows(args.out, args.q.rows, "out");
  check.batch(args.batch, args.q.rows);
  check.weight(args.kv_b, uint64_t{shape.heads} * (shape.nope_dim + shape.value_dim),
               shape.latent_rank, "kv_b");
  check.pages(args.pages, shape, args.q.dtype);
}

void check_route(const RouteArgs& args) {
  const Check check("route");
  const RouterShape& shape = args.shape;
  check.pointer(args.ids, args.x.rows, "ids");
  check.pointer(args.weights, args.x.rows, "weights");
  check.matrix(args.x, args.gate.cols, "x");
  check.positive(shape.experts, "shape.experts");
  check.require(shape.experts_per_token >= 1 && shape.experts_per_token <= shape.experts,
                "shape.experts_per_token", shape.experts_per_token, ", wanted 1 to ",
                shape.experts);
  check.require(shape.groups >= 1 && shape.experts % shape.groups == 0, "shape.groups",
                shape.groups, ", wanted a divisor of ", shape.experts);
  check.require(shape.groups == 1 || shape.experts / shape.groups >= 2, "shape.groups",
                shape.groups, ", wanted groups of two or more of ", shape.experts, " experts");
  check.require(shape.groups_kept >= 1 && shape.groups_kept <= shape.groups, "shape.groups_kept",
                shape.groups_kept, ", wanted 1 to ", shape.groups);
  check.weight(args.gate, shape.experts, args.x.cols, "gate");
}

void check_expert_gate_up(const ExpertGateUpArgs& args, bool wants_codes, bool takes_shared) {
  const Check check("expert_gate_up");
  check.pointer(args.ids, args.x.rows, "ids");
  check.pointer(args.experts, args.x.rows, "experts");
  check.positive(args.experts_per_token, "experts_per_token");
  check.positive(args.expert_count, "expert_count");
  check.matrix(args.x, args.x.cols, "x");
  check.matrix(args.hidden, args.hidden.cols, "hidden");
  check.same_dtype(args.hidden.dtype, args.x.dtype, "hidden");
  check.rows(args.hidden, uint64_t{args.x.rows} * args.experts_per_token, "hidden");
  check.codes(args.x_codes, args.x.cols, wants_codes, "x_codes");
  if (args.shared == nullptr) return;
  check.require(takes_shared, "shared", kUnwantedShared);
  check.matrix(args.shared_hidden, args.shared_hidden.cols, "shared_hidden");
  check.same_dtype(args.shared_hidden.dtype, args.x.dtype, "shared_hidden");
  check.rows(args.shared_hidden, args.x.rows, "shared_hidden");
  check.weight(args.shared->gate, args.shared_hidden.cols, args.x.cols, "shared.gate");
  check.weight(args.shared->up, args.shared_hidden.cols, args.x.cols, "shared.up");
}

void check_expert_down(const ExpertDownArgs& args, bool takes_shared) {
  const Check check("expert_down");
  check.pointer(args.ids, args.hidden.rows, "ids");
  check.pointer(args.experts, args.hidden.rows, "experts");
  check.positive(args.experts_per_token, "experts_per_token");
  check.positive(args.expert_count, "expert_count");
  check.matrix(args.hidden, args.hidden.cols, "hidden");
  check.require(args.hidden.rows % args.experts_per_token == 0, "hidden", args.hidden.rows,
                " rows high, wanted a multiple of ", args.experts_per_token);
  check.matrix(args.y, args.y.cols, "y");
  check.same_dtype(args.y.dtype, args.hidden.dtype, "y");
  check.rows(args.y, args.hidden.rows, "y");
  if (args.shared == nullptr) return;
  check.require(takes_shared, "shared", kUnwantedShared);
  check.matrix(args.shared_hidden, args.shared_hidden.cols, "shared_hidden");
  check.same_dtype(args.shared_hidden.dtype, args.hidden.dtype, "shared_hidden");
  check.rows(args.shared_hidden, args.hidden.rows / args.experts_per_token, "shared_hidden");
  check.matrix(args.shared_y, args.y.cols, "shared_y");
  check.same_dtype(args.shared_y.dtype, args.hidden.dtype, "shared_y");
  check.rows(args.shared_y, args.shared_hidden.rows, "shared_y");
  check.weight(args.shared->down, args.y.cols, args.shared_hidden.cols, "shared.down");
}

void check_expert_combine(const ExpertCombineArgs& args) {
  const Check check("expert_combine");
  check.pointer(args.weights, args.out.rows, "weights");
  check.positive(args.experts_per_token, "experts_per_token");
  check.matrix(args.out, args.out.cols, "out");
  check.matrix(args.y, args.out.cols, "y");
  check.same_dtype(args.y.dtype, args.out.dtype, "y");
  check.rows(args.y, uint64_t{args.out.rows} * args.experts_per_token, "y");
  if (args.shared.data != nullptr) {
    check.matrix(args.shared, args.out.cols, "shared");
    check.same_dtype(args.shared.dtype, args.out.dtype, "shared");
    check.rows(args.shared, args.out.rows, "shared");
  }
}

void check_swiglu(const SwigluArgs& args) {
  const Check check("swiglu");
  check.matrix(args.out, args.out.cols, "out");
  check.matrix(args.gate, args.out.cols, "gate");
  check.matrix(args.up, args.out.cols, "up");
  check.same_dtype(args.gate.dtype, args.out.dtype, "gate");
  check.same_dtype(args.up.dtype, args.out.dtype, "up");
  check.rows(args.gate, args.out.rows, "gate");
  check.rows(args.up, args.out.rows, "up");
}

void check_copy_rows(const CopyRowsArgs& args) {
  const Check check("copy_rows");
  check.pointer(args.x.data, args.count, "x");
  check.pointer(args.out.data, args.count, "out");
  check.matrix(args.out, args.x.cols, "out");
  check.same_dtype(args.x.dtype, args.out.dtype, "x");
  check.layout(args.x, "x");
  check.require(args.x_rows != nullptr || args.count <= args.x.rows, "count", args.count,
                ", wanted at most the ", args.x.rows, " rows of x");
  check.require(args.out_rows != nullptr || args.count <= args.out.rows, "count", args.count,
                ", wanted at most the ", args.out.rows, " rows of out");
}

void check_sample(const SampleArgs& args) {
  const Check check("sample");
  check.pointer(args.rows, args.logits.rows, "rows");
  check.pointer(args.results, args.logits.rows, "results");
  check.matrix(args.logits, args.logits.cols, "logits");
  check.same_dtype(args.logits.dtype, DType::kF32, "logits");
  check.positive(args.logits.cols, "logits.cols");
}

void check_experts(const ExpertGateUpArgs& args) {
  const Check check("expert_gate_up");
  for (uint32_t e = 0; e < args.expert_count; ++e) {
    check.weight(args.experts[e].gate, args.hidden.cols, args.x.cols, "experts[].gate");
    check.weight(args.experts[e].up, args.hidden.cols, args.x.cols, "experts[].up");
  }
}

void check_experts(const ExpertDownArgs& args) {
  const Check check("expert_down");
  for (uint32_t e = 0; e < args.expert_count; ++e) {
    check.weight(args.experts[e].down, args.y.cols, args.hidden.cols, "experts[].down");
  }
}

}  // namespace dsv3
