// Do the attention kernels give what the formulas say, and the same bits however rows are batched,
// prompts cut, splits folded and passes recorded? Real and odd shapes, every type of page, shuffled
// pages with NaN wherever no key is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cuda/attention_world.h"
#include "cuda/cuda_ops_impl.h"
#include "cuda/gpu_runtime.h"
#include "kernels/mla_decode.h"

namespace dsv3::attention_test {
namespace {

constexpr AttentionForm kPrompt = AttentionForm::kUnabsorbed;
constexpr AttentionForm kDecode = AttentionForm::kAbsorbed;

constexpr MlaShape kTrue{
    .heads = 2, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512};
constexpr MlaShape kManyHeads{
    .heads = 18, .nope_dim = 16, .rope_dim = 64, .value_dim = 24, .latent_rank = 512};
constexpr MlaShape kPadded{
    .heads = 3, .nope_dim = 24, .rope_dim = 8, .value_dim = 40, .latent_rank = 32};
constexpr MlaShape kOdd{
    .heads = 3, .nope_dim = 7, .rope_dim = 6, .value_dim = 5, .latent_rank = 13};
constexpr MlaShape kBlocks{// scale blocks of kv_b cut through heads and latents
                           .heads = 5,
                           .nope_dim = 33,
                           .rope_dim = 4,
                           .value_dim = 20,
                           .latent_rank = 150};
constexpr MlaShape kTiny{
    .heads = 1, .nope_dim = 1, .rope_dim = 2, .value_dim = 1, .latent_rank = 1};

struct Variant {
  MlaShape shape;
  Kinds kinds;
  const char* name;
};

const std::vector<Variant> kVariants = {
    {kTrue, {DType::kBF16, DType::kBF16, DType::kBF16}, "true"},
    {kTrue, {DType::kBF16, DType::kF8E4M3, DType::kF8E4M3}, "true f8"},
    {kTrue, {DType::kF32, DType::kF32, DType::kF32}, "true f32"},
    {kManyHeads, {DType::kBF16, DType::kBF16, DType::kF8E4M3}, "many heads"},
    {kManyHeads, {DType::kBF16, DType::kF8E4M3, DType::kBF16}, "many heads f8"},
    {kPadded, {DType::kBF16, DType::kBF16, DType::kF32}, "padded"},
    {kPadded, {DType::kF32, DType::kF32, DType::kF16}, "padded f32"},
    {kOdd, {DType::kBF16, DType::kBF16, DType::kBF16}, "odd"},
    {kOdd, {DType::kBF16, DType::kF8E4M3, DType::kF16}, "odd f8"},
    {kBlocks, {DType::kBF16, DType::kF8E4M3, DType::kF8E4M3}, "blocks f8"},
    {kBlocks, {DType::kF32, DType::kF32, DType::kF8E4M3}, "blocks f32"},
    {kTiny, {DType::kBF16, DType::kBF16, DType::kBF16}, "tiny"},
    {kTiny, {DType::kF32, DType::kF32, DType::kBF16}, "tiny f32"},
};

// Real widths, for which the kernels are the same as for some of the narrow ones.
constexpr std::ptrdiff_t kSlowVariants = 4;

TEST(AttentionKernels, MixedBatchesMatchTheOracle) {
  for (const Variant& one : kVariants) {
    Gpu gpu(limits_of(one.shape, one.kinds.act, 128, 300));
    World world(one.shape, one.kinds, {150, 65, 7, 202}, 21);
    world.check(gpu,
                {{0, 149, 1, kDecode},
                 {1, 0, 65, kPrompt},
                 {2, 0, 7, kDecode},
                 {3, 190, 12, kPrompt},
                 {3, 63, 2, kDecode}},
                one.name);
  }
}

TEST(AttentionKernels, LongSequencesCrossSplitsAndChunks) {
  for (const bool is_true : {true, false}) {
    const MlaShape& shape = is_true ? kManyHeads : kOdd;
    const DType pages = is_true ? DType::kF8E4M3 : DType::kBF16;
    Gpu gpu(limits_of(shape, DType::kBF16, 16, 2048));
    World world(shape, {DType::kBF16, pages, DType::kBF16}, {1060, 520}, 22);
    world.check(
        gpu,
        {{0, 1059, 1, kDecode}, {1, 511, 2, kDecode}, {1, 510, 3, kPrompt}, {0, 1022, 3, kPrompt}},
        str("rank ", shape.latent_rank));
  }
}

// Rows of one sequence, position by position and each in its own form, from many batches.
void expect_same_rows(World& world, Gpu& gpu, const std::vector<std::vector<Part>>& passes) {
  std::map<std::pair<uint32_t, uint32_t>, Bytes> first;
  for (const std::vector<Part>& parts : passes) {
    const std::vector<Bytes> rows = world.attend(gpu, parts);
    size_t index = 0;
    for (const Part& part : parts) {
      for (uint32_t r = 0; r < part.rows; ++r, ++index) {
        const uint32_t key = 2 * (part.position + r) + static_cast<uint32_t>(part.form);
        const auto [at, is_new] = first.try_emplace({part.sequence, key}, rows[index]);
        EXPECT_TRUE(is_new || at->second == rows[index])
            << "sequence " << part.sequence << " position " << part.position + r;
      }
    }
  }
}

TEST(AttentionKernels, NeitherCutsNorNeighboursChangeBits) {
  for (const Variant& one : kVariants) {
    if (&one - kVariants.data() < kSlowVariants) continue;
    Gpu gpu(limits_of(one.shape, one.kinds.act, 160, 300));
    Gpu small(limits_of(one.shape, one.kinds.act, 64, 150));  // other chunks of keys
    World world(one.shape, one.kinds, {150, 90}, 23);
    expect_same_rows(world, gpu,
                     {{{0, 0, 140, kPrompt}},
                      {{0, 0, 1, kPrompt}, {1, 0, 64, kPrompt}, {0, 1, 70, kPrompt}},
                      {{1, 0, 63, kPrompt}, {0, 71, 69, kPrompt}, {1, 80, 3, kDecode}},
                      {{1, 81, 1, kDecode}, {0, 130, 1, kPrompt}, {1, 63, 1, kPrompt}},
                      {{0, 140, 4, kDecode}, {1, 82, 1, kDecode}, {0, 64, 2, kPrompt}},
                      {{0, 143, 1, kDecode}},
                      {{1, 80, 1, kDecode}, {0, 141, 2, kDecode}}});
    EXPECT_EQ(world.attend(gpu, {{0, 60, 20, kPrompt}}),
              world.attend(small, {{0, 60, 20, kPrompt}}));
  }
}

TEST(AttentionKernels, ChunksOfKeysChangeNoBit) {
  Gpu large(limits_of(kPadded, DType::kBF16, 64, 1024));
  World world(kPadded, {DType::kBF16, DType::kBF16, DType::kBF16}, {600}, 24);
  const std::vector<Bytes> whole = world.attend(large, {{0, 540, 40, kPrompt}});
  for (const uint32_t positions : {64u, 128u, 300u}) {  // chunks of 64, 128 and 320 keys
    Gpu gpu(limits_of(kPadded, DType::kBF16, 64, positions));
    EXPECT_EQ(world.attend(gpu, {{0, 540, 40, kPrompt}}), whole) << positions;
  }
}

// More absorbed rows than one launch takes, among unabsorbed ones.
TEST(AttentionKernels, RangesOfRows) {
  Gpu gpu(limits_of(kPadded, DType::kBF16, 300, 300));
  World world(kPadded, {DType::kBF16, DType::kBF16, DType::kBF16}, {100, 100}, 25);
  world.check(gpu, {{0, 0, 70, kPrompt}, {1, 0, 99, kDecode}, {0, 70, 30, kPrompt}}, "ranges");
  expect_same_rows(world, gpu,
                   {{{0, 0, 70, kPrompt}, {1, 0, 99, kDecode}, {0, 70, 30, kPrompt}},
                    {{1, 60, 10, kDecode}},
                    {{1, 98, 1, kDecode}}});
}

// Scratch of one launch for rows of a few splits, of which `extra_slots` have their own slot.
kernels::MlaDecodeParams decode_params(Gpu& gpu, const MlaAttendArgs& args, uint32_t extra_slots) {
  const MlaShape& shape = args.shape;
  const size_t slots = size_t{kernels::kDecodeRows} + extra_slots;
  const std::vector<float> garbage(slots * shape.heads * shape.latent_rank, NAN);
  return {.dims = kernel_dims(shape),
          .row_count = args.batch.rows,
          .row_spans = args.batch.row_spans,
          .spans = reinterpret_cast<const kernels::Span*>(args.batch.spans),
          .q = kernel_matrix(args.q),
          .kv_b = kernel_weights(args.kv_b),
          .pages = kernel_pages(args.pages),
          .scale = args.scale,
          .out = kernel_matrix(args.out),
          .queries = gpu.upload(
              std::vector<float>(size_t{args.batch.rows} * shape.heads * args.pages.width)),
          .plan = gpu.upload(std::vector<kernels::SplitPlan>(kernels::kDecodeRows)),
          .items = gpu.upload(std::vector<uint32_t>(1)),
          .sums = gpu.upload(garbage),
          .states = gpu.upload(garbage),
          .extra_slots = extra_slots,
          .splits_max = 3,
          .multiprocessors = 2};
}

// Rows without slots for their splits are folded by one block: the same bits as by mla_combine.
TEST(AttentionKernels, WhoFoldsTheSplitsChangesNoBit) {
  for (const MlaShape& shape : {kManyHeads, kOdd}) {
    Gpu gpu(limits_of(shape, DType::kBF16, 16, 2048));
    World world(shape, {DType::kBF16, DType::kBF16, DType::kBF16}, {1100, 600}, 29);
    const std::vector<Part> parts = {
        {1, 599, 1, kDecode}, {0, 1098, 2, kDecode}, {1, 9, 1, kDecode}};
    const std::vector<Bytes> wanted = world.attend(gpu, parts);
    for (const uint32_t extra_slots : {0u, 2u, 3u, 5u}) {
      const MlaAttendArgs args = world.place(gpu, parts);
      const kernels::MlaDecodeParams params = decode_params(gpu, args, extra_slots);
      gpu::Stream* stream = nullptr;
      ASSERT_EQ(gpu::stream_create(false, &stream), 0);
      EXPECT_EQ(launch_mla_absorb_any(params, stream), 0);
      EXPECT_EQ(launch_mla_decode_any(params, stream), 0);
      EXPECT_EQ(launch_mla_combine_any(params, stream), 0);
      EXPECT_EQ(gpu::stream_wait(stream), 0);
      EXPECT_EQ(gpu::stream_destroy(stream), 0);
      EXPECT_EQ(world.rows_of(gpu, args), wanted) << extra_slots << " slots";
    }
  }
}

// A recorded pass reads spans and positions when it runs.
TEST(AttentionKernels, ARecordingFollowsThePositions) {
  for (const MlaShape& shape : {kManyHeads, kOdd}) {
    Gpu gpu(limits_of(shape, DType::kBF16, 16, 1200));
    World world(shape, {DType::kBF16, DType::kBF16, DType::kBF16}, {1100, 520}, 26);
    const std::vector<Part> early = {{0, 3, 1, kDecode}, {1, 62, 2, kDecode}};
    const std::vector<Part> late = {{1, 515, 2, kDecode}, {0, 1090, 1, kDecode}};
    const std::vector<Bytes> wanted_early = world.attend(gpu, early);
    const std::vector<Bytes> wanted_late =
        world.attend(gpu, {{1, 515, 1, kDecode}, {1, 516, 1, kDecode}, {0, 1090, 1, kDecode}});
    const MlaAttendArgs args = world.place(gpu, early);
    const auto recording = gpu.device().record([&] { gpu.ops().mla_attend(args); });
    ASSERT_NE(recording, nullptr);
    gpu.device().replay(*recording);
    EXPECT_EQ(world.rows_of(gpu, args), wanted_early);
    // The recording has three rows; whose they are may change.
    world.set_parts(gpu, args, {{1, 515, 1, kDecode}, {1, 516, 2, kDecode}});
    gpu.device().replay(*recording);
    EXPECT_EQ(world.rows_of(gpu, args)[0], wanted_late[0]);
    EXPECT_EQ(world.rows_of(gpu, args)[1], wanted_late[1]);
  }
}

void expect_nan_from(const World& world, const std::vector<Bytes>& rows, uint32_t first) {
  for (uint32_t r = 0; r < rows.size(); ++r) {
    for (const double value : world.values_of(rows[r])) {
      EXPECT_EQ(std::isnan(value), r >= first) << "row " << r;
    }
  }
}

// A key whose cached row is not finite reaches the rows that see it and no other.
TEST(AttentionKernels, ANanKeyReachesOnlyLaterRows) {
  for (const MlaShape& shape : {kPadded, kOdd}) {
    Gpu gpu(limits_of(shape, DType::kBF16, 64, 300));
    World world(shape, {DType::kBF16, DType::kBF16, DType::kBF16}, {40}, 27);
    const std::vector<Bytes> clean = world.attend(gpu, {{0, 0, 40, kPrompt}});
    world.poison(0, 20);
    const std::vector<Bytes> rows = world.attend(gpu, {{0, 0, 40, kPrompt}});
    expect_nan_from(world, rows, 20);
    EXPECT_TRUE(std::equal(rows.begin(), rows.begin() + 20, clean.begin()));
    expect_nan_from(world, world.attend(gpu, {{0, 0, 40, kDecode}}), 20);
  }
}

TEST(AttentionKernels, LimitsAreKept) {
  Gpu gpu(limits_of(kPadded, DType::kBF16, 4, 300));
  World world(kPadded, {DType::kBF16, DType::kBF16, DType::kBF16}, {40}, 28);
  try {
    world.attend(gpu, {{0, 0, 5, kPrompt}});
    ADD_FAILURE() << "more rows than reserved";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kInternal);
    EXPECT_NE(error.message().find("rows_max is 5, reserved 4"), std::string::npos)
        << error.message();
  }
}

}  // namespace
}  // namespace dsv3::attention_test
