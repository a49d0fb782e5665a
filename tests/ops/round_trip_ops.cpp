#include "ops/round_trip_ops.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "ops/round_trip.h"

namespace dsv3::ops_test {
namespace {

// The output's place on the device: inside `input` where the caller's two views share memory.
Rows out_or_inside(RoundTrip& trip, const Rows& out, const ConstRows& input,
                   const Rows& input_there) {
  return out.data == input.data ? RoundTrip::inside(out, input_there) : trip.out(out);
}

// The device view of an input that `out` may alias; then it comes home too.
Rows input_for(RoundTrip& trip, const ConstRows& input, const Rows& out) {
  if (out.data == input.data) {
    return trip.in_out({out.data, input.dtype, input.rows, input.cols, input.stride});
  }
  const ConstRows there = trip.in(input);
  return {const_cast<void*>(there.data), there.dtype, there.rows, there.cols, there.stride};
}

}  // namespace

void RoundTripOps::do_take_tokens(const TakeTokensArgs& args) {
  RoundTrip trip(device());
  const uint32_t slots = 1 + *std::max_element(args.slots, args.slots + args.rows);
  TakeTokensArgs there = args;
  there.tokens = trip.in_out(args.tokens, args.rows);
  there.slots = trip.in(args.slots, args.rows);
  there.positions = trip.in(args.positions, args.rows);
  there.history = trip.in_out(args.history, slots * args.stride);
  ops().take_tokens(there);
  trip.finish();
}

void RoundTripOps::do_embed(const EmbedArgs& args) {
  RoundTrip trip(device());
  ops().embed({.tokens = trip.in(args.tokens, args.out.rows),
               .table = trip.in(args.table),
               .out = trip.out(args.out)});
  trip.finish();
}

void RoundTripOps::do_add_norm(const AddNormArgs& args) {
  RoundTrip trip(device());
  ops().add_norm({.h = trip.in(args.h),
                  .residual = trip.in_out(args.residual),
                  .weight = trip.in(args.weight),
                  .eps = args.eps,
                  .out = trip.out(args.out),
                  .out_codes = trip.out(args.out_codes, args.out.rows)});
  trip.finish();
}

void RoundTripOps::do_rms_norm(const RmsNormArgs& args) {
  RoundTrip trip(device());
  const Rows x = input_for(trip, args.x, args.out);
  ops().rms_norm({.x = x,
                  .weight = trip.in(args.weight),
                  .eps = args.eps,
                  .out = out_or_inside(trip, args.out, args.x, x)});
  trip.finish();
}

void RoundTripOps::do_linear(const LinearArgs& args) {
  RoundTrip trip(device());
  ops().linear({.x = trip.in(args.x),
                .x_codes = trip.in(args.x_codes, args.x.rows),
                .weight = trip.in(args.weight),
                .y = trip.out(args.y)});
  trip.finish();
}

void RoundTripOps::do_mla_append(const MlaAppendArgs& args) {
  RoundTrip trip(device());
  MlaAppendArgs there = args;
  there.rope.inv_freq = trip.in(args.rope.inv_freq, args.shape.rope_dim / 2);
  there.batch = trip.in(args.batch);
  there.q = trip.in_out(args.q);
  there.z = trip.in(args.z);
  there.latent_norm = trip.in(args.latent_norm);
  there.pages = trip.in_out(args.pages, args.shape);
  ops().mla_append(there);
  trip.finish();
}

void RoundTripOps::do_mla_attend(const MlaAttendArgs& args) {
  RoundTrip trip(device());
  MlaAttendArgs there = args;
  there.batch = trip.in(args.batch);
  there.q = trip.in(args.q);
  there.kv_b = trip.in(args.kv_b);
  there.pages = trip.in(args.pages, args.shape);
  there.out = trip.out(args.out);
  ops().mla_attend(there);
  trip.finish();
}

void RoundTripOps::do_route(const RouteArgs& args) {
  RoundTrip trip(device());
  const uint64_t slots = uint64_t{args.x.rows} * args.shape.experts_per_token;
  RouteArgs there = args;
  there.x = trip.in(args.x);
  there.gate = trip.in(args.gate);
  there.bias = trip.in(args.bias, args.shape.experts);
  there.ids = trip.out(args.ids, slots);
  there.weights = trip.out(args.weights, slots);
  there.expert_tokens = trip.in_out(args.expert_tokens, args.shape.experts);
  there.nan_count = trip.in_out(args.nan_count, 1);
  ops().route(there);
  trip.finish();
}

void RoundTripOps::do_expert_gate_up(const ExpertGateUpArgs& args) {
  RoundTrip trip(device());
  ExpertGateUpArgs there = args;
  there.x = trip.in(args.x);
  there.x_codes = trip.in(args.x_codes, args.x.rows);
  there.ids = trip.in(args.ids, uint64_t{args.x.rows} * args.experts_per_token);
  there.experts = trip.in(args.experts, args.expert_count);
  there.hidden = trip.out(args.hidden);
  ops().expert_gate_up(there);
  trip.finish();
}

void RoundTripOps::do_expert_down(const ExpertDownArgs& args) {
  RoundTrip trip(device());
  ExpertDownArgs there = args;
  there.hidden = trip.in(args.hidden);
  there.ids = trip.in(args.ids, args.hidden.rows);
  there.experts = trip.in(args.experts, args.expert_count);
  there.y = trip.out(args.y);
  ops().expert_down(there);
  trip.finish();
}

void RoundTripOps::do_expert_combine(const ExpertCombineArgs& args) {
  RoundTrip trip(device());
  ops().expert_combine(
      {.y = trip.in(args.y),
       .weights = trip.in(args.weights, uint64_t{args.out.rows} * args.experts_per_token),
       .experts_per_token = args.experts_per_token,
       .shared = trip.in(args.shared),
       .out = trip.out(args.out)});
  trip.finish();
}

void RoundTripOps::do_swiglu(const SwigluArgs& args) {
  RoundTrip trip(device());
  const Rows gate = input_for(trip, args.gate, args.out);
  const Rows up = args.up.data == args.gate.data ? gate : input_for(trip, args.up, args.out);
  const bool is_up = args.out.data == args.up.data;
  ops().swiglu(
      {.gate = gate,
       .up = up,
       .out = out_or_inside(trip, args.out, is_up ? args.up : args.gate, is_up ? up : gate)});
  trip.finish();
}

void RoundTripOps::do_copy_rows(const CopyRowsArgs& args) {
  RoundTrip trip(device());
  ops().copy_rows({.x = trip.in(args.x),
                   .x_rows = trip.in(args.x_rows, args.count),
                   .out = trip.in_out(args.out),
                   .out_rows = trip.in(args.out_rows, args.count),
                   .count = args.count});
  trip.finish();
}

void RoundTripOps::do_sample(const SampleArgs& args) {
  RoundTrip trip(device());
  const uint32_t count = args.logits.rows;
  std::vector<SampleRow> rows(args.rows, args.rows + count);
  for (SampleRow& row : rows) {
    row.history = trip.in(row.history, row.history_count);
    row.biases = trip.in(row.biases, row.bias_count);
    row.allowed = trip.in(row.allowed, ceil_div(args.logits.cols, 32u));
    row.drawn = trip.out(row.drawn, 1);
  }
  ops().sample({.logits = trip.in(args.logits),
                .rows = trip.in(rows.data(), count),
                .results = trip.out(args.results, count)});
  trip.finish();
}

}  // namespace dsv3::ops_test
