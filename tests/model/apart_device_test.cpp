// Goal: a model runs on a device whose memory the host cannot touch, whose work happens late and
// which replays recordings, and gives the CPU's bits. Method: a device of that kind that computes
// with the CPU, so that every difference is src/model's.
#include "model/apart_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "model/model_fixture.h"
#include "model/side_by_side.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::testing {
namespace {

std::vector<int32_t> text_of(const std::string& name) {
  return reference::read_golden(golden_dir() / name).tokens;
}

ApartDevice& apart(ModelFixture& fixture) { return static_cast<ApartDevice&>(fixture.device()); }

class Apart : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder_ = golden_dir() / GetParam();
  std::vector<int32_t> tokens_ = text_of(GetParam());

  std::vector<std::vector<int32_t>> generate(const MachineMaker& machine, const Drive& drive) {
    ModelFixture fixture(folder_, {.machine = machine});
    return SideBySide(fixture, tokens_, drive).generate(kSteps);
  }
  static constexpr uint32_t kSteps = 20;  // over the border of a page
};

TEST_P(Apart, LogitsAreTheCpus) {
  const auto half = static_cast<uint32_t>(tokens_.size()) / 2;
  const auto run = [&](const MachineMaker& machine) {
    ModelFixture fixture(folder_, {.machine = machine});
    fixture.pass(tokens_, 0, half, AttentionForm::kUnabsorbed);
    std::vector<float> out = fixture.logits();
    for (uint32_t i = half; i < tokens_.size(); ++i) {
      fixture.pass(tokens_, i, 1, AttentionForm::kAbsorbed);
    }
    const std::vector<float> last = fixture.logits();
    out.insert(out.end(), last.begin(), last.end());
    return out;
  };
  const std::vector<float> expected = run(cpu_machine());
  const std::vector<float> actual = run(apart_machine());
  ASSERT_EQ(actual.size(), expected.size());
  EXPECT_EQ(0, std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)));
}

// What a recording may not have frozen: positions, pages, slots, tokens, biases, history.
TEST_P(Apart, EveryDriveDrawsTheCpusTokens) {
  const auto expected = generate(cpu_machine(), {});
  EXPECT_EQ(generate(cpu_machine(), {.reorders = true, .slot_shift = 2, .page_seed = 3}), expected);
  EXPECT_EQ(generate(apart_machine(), {}), expected);
  EXPECT_EQ(generate(apart_machine(), {.reorders = true, .slot_shift = 1, .page_seed = 5}),
            expected);
  EXPECT_EQ(generate(apart_machine(), {.in_slices = true, .reorders = true}), expected);
  EXPECT_EQ(generate(apart_machine(), {.ahead = true}), expected);
  EXPECT_EQ(
      generate(apart_machine(), {.ahead = true, .reorders = true, .slot_shift = 3, .page_seed = 9}),
      expected);
  EXPECT_EQ(generate(apart_machine(), {.ahead = true, .in_slices = true}), expected);
}

INSTANTIATE_TEST_SUITE_P(Models, Apart, ::testing::ValuesIn(golden_names()),
                         [](const auto& param_info) { return param_info.param; });

class ApartPass : public ::testing::Test {
 protected:
  std::vector<int32_t> tokens_ = text_of("groups_yarn");
  ModelFixture fixture_{golden_dir() / "groups_yarn", {.machine = apart_machine()}};
  ApartDevice& device_ = apart(fixture_);
  const uint32_t layers_ = fixture_.model().config.layers;

  // `count` decode rows of slots 0, 1, ... at `position`.
  std::vector<PassSpan> decode_spans(uint32_t count, uint32_t position) {
    std::vector<PassSpan> spans(count);
    for (uint32_t slot = 0; slot < count; ++slot) {
      spans[slot] = {.slot = slot,
                     .form = AttentionForm::kAbsorbed,
                     .position_begin = position,
                     .tokens = {tokens_.data() + slot, 1},
                     .pages = {fixture_.pages().data() + slot, 1}};
    }
    return spans;
  }
  static std::vector<PassSample> greedy(uint32_t count, uint32_t position) {
    std::vector<PassSample> samples(count);
    for (uint32_t slot = 0; slot < count; ++slot) {
      samples[slot].slot = slot;
      samples[slot].row.position = position;
    }
    return samples;
  }
};

TEST_F(ApartPass, OneCopyInOneCopyOutAndNoWaiting) {
  const auto spans = decode_spans(1, 0);
  const auto samples = greedy(1, 1);
  const ApartDevice::Counts before = device_.counts();
  fixture_.launch({.spans = spans, .samples = samples});
  EXPECT_EQ(device_.counts().copies_to_device - before.copies_to_device, 1u);
  EXPECT_EQ(device_.counts().copies_to_host - before.copies_to_host, 1u);
  EXPECT_EQ(device_.counts().synchronized, before.synchronized);
  EXPECT_GT(device_.pending(), 0u) << "the pass was only enqueued";
  EXPECT_LT(device_.counts().bytes_to_device - before.bytes_to_device, 1024u)
      << "of one row, not of rows_max";
  EXPECT_EQ(fixture_.transformer().wait_results().size(), 1u);
  EXPECT_EQ(device_.pending(), 0u);
  EXPECT_EQ(device_.counts().copies_to_host - before.copies_to_host, 1u);
}

TEST_F(ApartPass, SmallDecodePassesAreRecordedAtLoadAndReplayed) {
  const ApartDevice::Counts loaded = device_.counts();
  EXPECT_EQ(loaded.recorded, 4u) << "one for each row count up to the slots";
  EXPECT_EQ(loaded.replayed, 0u);
  for (uint32_t rows = 1; rows <= 4; ++rows) {
    const auto spans = decode_spans(rows, 0);
    fixture_.run({.spans = spans, .samples = greedy(rows, 1)});
    EXPECT_EQ(device_.counts().replayed, rows);
    EXPECT_EQ(device_.counts().ops, loaded.ops) << "every op came out of the recording";
  }
  // Anything else is run op by op: a prompt token, a row that does not draw, two rows, slices.
  const auto run_direct = [&](std::span<const PassSpan> spans, std::span<const PassSample> samples,
                              bool in_slices) {
    const uint32_t ops = device_.counts().ops;
    fixture_.run({.spans = spans, .samples = samples, .in_slices = in_slices});
    EXPECT_GT(device_.counts().ops, ops);
    EXPECT_EQ(device_.counts().replayed, 4u);
  };
  auto spans = decode_spans(2, 1);
  run_direct(spans, greedy(2, 2), true);
  run_direct(spans, greedy(1, 2), false);
  spans[0].form = AttentionForm::kUnabsorbed;
  run_direct(spans, greedy(2, 2), false);
  spans = decode_spans(1, 1);
  spans[0].tokens = {tokens_.data(), 2};
  run_direct(spans, greedy(1, 3), false);
  EXPECT_EQ(device_.counts().recorded, 4u);
}

TEST_F(ApartPass, SlicesAreSegmentsThatHaveHappened) {
  const auto spans = decode_spans(2, 0);
  const auto samples = greedy(2, 1);
  Transformer& transformer = fixture_.transformer();
  transformer.begin({.spans = spans, .samples = samples});
  EXPECT_EQ(transformer.segment_count(), 1u);
  transformer.begin({.spans = spans, .samples = samples, .in_slices = true});
  ASSERT_EQ(transformer.segment_count(), 2 * layers_ + 2);
  for (uint32_t i = 0; i < transformer.segment_count(); ++i) {
    transformer.run_segment(i);
    EXPECT_EQ(device_.pending(), 0u) << "segment " << i;
  }
  EXPECT_EQ(transformer.wait_results().size(), 2u);
}

// A pass begun and dropped, whole or half way, behind one in flight.
TEST_F(ApartPass, AbandonedPassesLeaveNoTrace) {
  Transformer& transformer = fixture_.transformer();
  const auto first = decode_spans(2, 0);
  const auto second = decode_spans(2, 1);
  auto wrong = decode_spans(3, 1);
  for (PassSpan& span : wrong) span.tokens = {tokens_.data() + 9, 1};
  const auto token_of = [](const SampleResult& result) { return result.token; };
  std::vector<int32_t> expected(2);
  {
    ModelFixture plain(golden_dir() / "groups_yarn");
    plain.run({.spans = first, .samples = greedy(2, 1)});
    const auto results = plain.run({.spans = second, .samples = greedy(2, 2)});
    std::transform(results.begin(), results.end(), expected.begin(), token_of);
  }
  for (uint32_t segments_run : {0u, 3u}) {
    fixture_.launch({.spans = first, .samples = greedy(2, 1)});
    transformer.begin({.spans = wrong, .samples = greedy(3, 2), .in_slices = true});
    for (uint32_t i = 0; i < segments_run; ++i) transformer.run_segment(i);
    transformer.begin({.spans = wrong, .samples = greedy(3, 2)});
    fixture_.launch({.spans = second, .samples = greedy(2, 2)});
    EXPECT_EQ(transformer.wait_results().size(), 2u);
    const auto results = transformer.wait_results();
    std::vector<int32_t> actual(2);
    std::transform(results.begin(), results.end(), actual.begin(), token_of);
    EXPECT_EQ(actual, expected) << "after " << segments_run << " segments";
  }
}

// A token under a penalty that nothing outweighs is never drawn again: no token is drawn twice, nor
// one of the prompt, whoever of host and device saw it first.
TEST_F(ApartPass, PenaltiesSeeEveryTokenBefore) {
  constexpr uint32_t kPrompt = 12;
  constexpr uint32_t kDrawn = 40;
  ModelFixture cpu(golden_dir() / "groups_yarn");
  for (ModelFixture* fixture : {&cpu, &fixture_}) {
    std::vector<int32_t> seen(tokens_.begin(), tokens_.begin() + kPrompt);
    const bool ahead = fixture->transformer().passes_ahead() == 1;
    int32_t next = kDrawnToken;
    const auto read = [&] {
      next = fixture->transformer().wait_results().front().token;
      EXPECT_EQ(std::count(seen.begin(), seen.end(), next), 0) << "token " << seen.size();
      seen.push_back(next);
    };
    for (uint32_t i = 0; i < kDrawn; ++i) {
      PassSample sample{.slot = 2, .row = {}};
      sample.row.position = kPrompt + i;
      sample.row.frequency_penalty = 1e6f;
      const std::span<const int32_t> prompt(tokens_.data(), kPrompt);
      const PassSpan span{.slot = 2,
                          .form = i == 0 ? AttentionForm::kUnabsorbed : AttentionForm::kAbsorbed,
                          .position_begin = i == 0 ? 0 : kPrompt + i - 1,
                          .tokens = i == 0 ? prompt : std::span<const int32_t>(&next, 1),
                          .pages = fixture->pages()};
      fixture->launch({.spans = {&span, 1}, .samples = {&sample, 1}});
      if (!ahead || i > 0) read();
      if (ahead) next = kDrawnToken;
    }
    if (ahead) read();
    EXPECT_EQ(seen.size(), kPrompt + kDrawn);
  }
}

TEST_F(ApartPass, MoreInFlightThanAllowedIsADefect) {
  const auto spans = decode_spans(1, 0);
  const PassInput input{.spans = spans, .samples = {}};
  fixture_.launch(input);
  fixture_.launch(input);
  EXPECT_THROW(fixture_.transformer().begin(input), Error);
  fixture_.transformer().wait_results();
  EXPECT_NO_THROW(fixture_.launch(input));
  fixture_.transformer().wait_results();
  fixture_.transformer().wait_results();
  EXPECT_THROW(fixture_.transformer().wait_results(), Error);
}

TEST_F(ApartPass, CountersStartAtZeroAfterTheWarmUp) {
  const auto sum = [&] {
    const std::vector<uint64_t> tokens = fixture_.transformer().expert_tokens();
    return std::accumulate(tokens.begin(), tokens.end(), uint64_t{0});
  };
  EXPECT_EQ(sum(), 0u);
  fixture_.pass(tokens_, 0, 10, AttentionForm::kUnabsorbed);
  EXPECT_EQ(sum(), uint64_t{10} * 4 * (layers_ - 1)) << "one dense layer, 4 experts a token";
  EXPECT_EQ(fixture_.transformer().nan_count(), 0u);
}

TEST(ApartModel, MemoryIsWhatThePlanSaid) {
  for (const std::string& name : golden_names()) {
    ModelFixture cpu(golden_dir() / name);
    EXPECT_EQ(cpu.allocator().bytes_held(), cpu.model().plan.own()) << name;
    EXPECT_EQ(cpu.model().plan.host, 0u);
    ModelFixture there(golden_dir() / name, {.machine = apart_machine()});
    const MemoryPlan& plan = there.model().plan;
    EXPECT_EQ(plan.weights_mapped, 0u);
    EXPECT_EQ(apart(there).bytes_held(), plan.own() - plan.scratch) << name;
    EXPECT_EQ(there.allocator().bytes_held(), plan.scratch) << "of the CPU that computes";
    EXPECT_EQ(apart(there).host_bytes_held(), plan.host) << name;
  }
}

// Each part of a layer quantises its input once, for all that multiply it.
TEST(ApartModel, CodesGoFromNormsToAllTheirReaders) {
  for (const std::string& name : golden_names()) {
    ModelFixture fixture(golden_dir() / name, {.machine = apart_machine(true)});
    const auto& counts = static_cast<ApartOps&>(fixture.ops()).counts();
    const ApartOps::Counts before = counts;
    const std::vector<int32_t> tokens = text_of(name);
    fixture.pass(tokens, 0, 3, AttentionForm::kUnabsorbed);
    const ModelConfig& config = fixture.model().config;
    uint32_t readers = 0;
    for (uint32_t i = 0; i < config.layers; ++i) {
      readers += 2;  // query, latent
      readers += config.is_moe_layer(i) ? 1 + (config.shared_experts > 0 ? 2 : 0) : 2;
    }
    EXPECT_EQ(counts.codes_written - before.codes_written, 2 * config.layers) << name;
    EXPECT_EQ(counts.codes_read - before.codes_read, readers) << name;
  }
}

}  // namespace
}  // namespace dsv3::testing
