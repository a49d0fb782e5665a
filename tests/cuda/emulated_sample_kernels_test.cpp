// Does the GPU draw the CPU's tokens? Thousands of random rows with all options mixed, on the
// emulated GPU and by the CPU operations: the same tokens, cuts at ties included; then the edges.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cuda/row_fixture.h"
#include "kernels/sample.h"
#include "ops/args.h"

namespace dsv3::row_test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// One row with all that it points to.
struct Request {
  std::vector<float> logits;
  std::vector<int32_t> history;
  std::vector<LogitBias> biases;
  std::vector<uint32_t> allowed;
  SampleRow row;

  // The row that points into this request; `drawn` may be null.
  SampleRow pointed(int32_t* drawn) const {
    SampleRow result = row;
    result.history = history.data();
    result.history_count = static_cast<uint32_t>(history.size());
    result.biases = biases.data();
    result.bias_count = static_cast<uint32_t>(biases.size());
    result.allowed = allowed.empty() ? nullptr : allowed.data();
    result.drawn = drawn;
    return result;
  }
};

struct Drawn {
  std::vector<SampleResult> results;
  std::vector<int32_t> drawn;
};

class SampleKernelsTest : public RowKernels {
 protected:
  void SetUp() override {
    RowKernels::SetUp();
    cpu_ = make_cpu_ops(pool_, allocator_, CpuLevel::kScalar);
    OpsLimits limits;
    limits.rows_max = 1;
    limits.sample_rows_max = 64;
    limits.vocab = 130000;
    limits.linear_in_max = 64;
    limits.positions_max = 64;
    limits.expert_rows_max = 1;
    limits.experts_max = 1;
    limits.expert_width_max = 64;
    cpu_->reserve(limits);
  }

  // All requests have one vocabulary. `on_gpu` runs the kernel, with rubbish in its scratch.
  Drawn sample(const std::vector<Request>& requests, bool on_gpu) {
    const auto vocab = static_cast<uint32_t>(requests[0].logits.size());
    const auto count = static_cast<uint32_t>(requests.size());
    Drawn out;
    out.results.resize(count);
    out.drawn.assign(count, -77);
    std::vector<float> logits;
    std::vector<SampleRow> rows;
    for (uint32_t i = 0; i < count; ++i) {
      logits.insert(logits.end(), requests[i].logits.begin(), requests[i].logits.end());
      rows.push_back(requests[i].pointed(&out.drawn[i]));
    }
    if (on_gpu) {
      std::vector<float> adjusted(logits.size(), 1e30f);
      std::vector<uint32_t> counts(logits.size(), 0x80000007u);
      finish(kernels::launch_sample_any(
          {.logits = {logits.data(), kernels::Type::kF32, count, vocab, vocab},
           .rows = reinterpret_cast<const kernels::SampleRow*>(rows.data()),
           .results = reinterpret_cast<kernels::SampleResult*>(out.results.data()),
           .adjusted = adjusted.data(),
           .counts = counts.data()},
          stream_));
    } else {
      cpu_->sample({.logits = {logits.data(), DType::kF32, count, vocab, vocab},
                    .rows = rows.data(),
                    .results = out.results.data()});
    }
    return out;
  }

  SampleResult sample_one(const Request& request) { return sample({request}, true).results[0]; }

  Allocator allocator_{{}, 0};
  ThreadPool pool_{{}};
  std::unique_ptr<Ops> cpu_;
};

void expect_same(const SampleResult& gpu, const SampleResult& cpu, const std::string& what) {
  ASSERT_EQ(gpu.token, cpu.token) << what;
  ASSERT_EQ(gpu.top_count, cpu.top_count) << what;
  // The GPU's exponentials are FP64; the CPU's are FP32 of rounded distances to the largest logit,
  // added in chains of 16 before FP64 takes over. A term as far down as 16 is off by its rounding
  // (2^-21), its exponential (2^-22) and the chain (2^-20): all in all less than 2^-19 of what is
  // added to the largest one's 1, and of its logarithm.
  constexpr float kClose = 0x1p-19f;
  const auto close = [](float a, float b) { return std::fabs(a - b) <= kClose * std::fabs(b); };
  EXPECT_TRUE(close(gpu.logprob, cpu.logprob) || std::fabs(gpu.logprob - cpu.logprob) < 1e-13f)
      << what << ": " << gpu.logprob << " for " << cpu.logprob;
  for (uint32_t i = 0; i < kTopLogprobsMax; ++i) {
    EXPECT_EQ(gpu.top_tokens[i], cpu.top_tokens[i]) << what << ": entry " << i;
    EXPECT_NEAR(gpu.top_logprobs[i], cpu.top_logprobs[i],
                kClose * std::fabs(cpu.top_logprobs[i]) + 1e-13f)
        << what << ": entry " << i;
  }
}

// Four kinds: spread out, in steps that tie, nearly flat, and with what is not finite.
std::vector<float> random_logits(Numbers& numbers, uint32_t vocab) {
  const uint32_t kind = numbers.below(4);
  const double spread = std::exp(3.0 * numbers.uniform() - 1.0);
  std::vector<float> logits;
  for (uint32_t i = 0; i < vocab; ++i) {
    double value = spread * numbers.normal();
    if (kind == 1) value = std::round(value);
    if (kind == 2) value = 0.25 * numbers.below(3);
    logits.push_back(static_cast<float>(value));
    if (kind == 3 && numbers.below(6) == 0) {
      const float odd[] = {kNan, kInfinity, -kInfinity, 0.0f, -0.0f, 3e38f};
      logits.back() = odd[numbers.below(6)];
    }
  }
  return logits;
}

void add_penalties(Numbers& numbers, uint32_t vocab, Request& request) {
  const uint32_t count = numbers.below(60);
  for (uint32_t i = 0; i < count; ++i) {
    request.history.push_back(static_cast<int32_t>(numbers.below(vocab)));
  }
  request.row.generated_begin = numbers.below(count + 1);
  if (numbers.below(2) == 0) request.row.repetition_penalty = numbers.below(2) == 0 ? 1.3f : 0.7f;
  if (numbers.below(2) == 0) request.row.presence_penalty = 0.4f;
  if (numbers.below(2) == 0) request.row.frequency_penalty = -0.37f;
}

void add_biases(Numbers& numbers, uint32_t vocab, Request& request) {
  const uint32_t count = 1 + numbers.below(12);
  for (uint32_t i = 0; i < count; ++i) {
    const float values[] = {static_cast<float>(4.0 * numbers.normal()), -kInfinity, 1.5f, 3e38f};
    const auto token = static_cast<int32_t>(numbers.below(std::min(vocab, 20u)));
    request.biases.push_back({token, values[numbers.below(4)]});
  }
}

Request random_request(Numbers& numbers, uint32_t vocab) {
  const auto one_in = [&](uint32_t n) { return numbers.below(n) == 0; };
  Request request;
  request.logits = random_logits(numbers, vocab);
  request.row.position = numbers.below(1u << 20);
  request.row.seed = numbers.bits();
  const float temperatures[] = {0.0f, 0.01f, 0.6f, 1.0f, 1.0f, 2.5f};
  request.row.temperature = temperatures[numbers.below(6)];
  const float top_ps[] = {0.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999999f};
  if (one_in(2)) request.row.top_p = top_ps[numbers.below(6)];
  if (one_in(2)) request.row.top_k = 1 + numbers.below(one_in(2) ? 10 : 2 * vocab);
  const float min_ps[] = {0.001f, 0.1f, 0.9f, 1.0f, 1.5f};
  if (one_in(3)) request.row.min_p = min_ps[numbers.below(5)];
  if (one_in(3)) add_penalties(numbers, vocab, request);
  if (one_in(3)) add_biases(numbers, vocab, request);
  if (one_in(4)) {
    const bool none = one_in(8);
    for (uint32_t i = 0; i < (vocab + 31) / 32; ++i) {
      request.allowed.push_back(none ? 0 : static_cast<uint32_t>(numbers.bits()));
    }
  }
  if (one_in(4)) request.row.vocab_limit = 1 + numbers.below(vocab);
  if (one_in(4)) request.row.top_logprobs = numbers.below(kTopLogprobsMax + 1);
  return request;
}

TEST_F(SampleKernelsTest, DrawsTheTokensOfTheCpu) {
  Numbers numbers(21);
  uint32_t nothing = 0;
  for (const uint32_t vocab : {1u, 2u, 31u, 33u, 70u, 500u, 1025u, 3000u}) {
    for (uint32_t round = 0; round < 12; ++round) {
      std::vector<Request> requests;
      for (uint32_t i = 0; i < 32; ++i) requests.push_back(random_request(numbers, vocab));
      const Drawn gpu = sample(requests, true);
      const Drawn cpu = sample(requests, false);
      for (uint32_t i = 0; i < requests.size(); ++i) {
        expect_same(gpu.results[i], cpu.results[i],
                    "V " + std::to_string(vocab) + ", round " + std::to_string(round) + ", row " +
                        std::to_string(i));
        ASSERT_EQ(gpu.drawn[i], std::max(gpu.results[i].token, 0));
        nothing += gpu.results[i].token < 0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(nothing, 10u);  // the requests reach the case
}

TEST_F(SampleKernelsTest, DrawsTheTokensOfTheCpuFromAFullVocabulary) {
  Numbers numbers(22);
  std::vector<Request> requests;
  for (uint32_t i = 0; i < 6; ++i) requests.push_back(random_request(numbers, 129280));
  for (Request& request : requests) {
    if (request.row.temperature == 0.0f) request.row.temperature = 1.0f;
  }
  requests[0].row.top_p = 0.9f;
  requests[1].row.top_k = 40;
  const Drawn gpu = sample(requests, true);
  const Drawn cpu = sample(requests, false);
  for (uint32_t i = 0; i < requests.size(); ++i) {
    expect_same(gpu.results[i], cpu.results[i], "row " + std::to_string(i));
  }
}

// Each row alone gives the bits it gives among others (STRICT).
TEST_F(SampleKernelsTest, ResultsDependOnTheRowAlone) {
  Numbers numbers(23);
  std::vector<Request> requests;
  for (uint32_t i = 0; i < 40; ++i) requests.push_back(random_request(numbers, 777));
  const Drawn together = sample(requests, true);
  for (uint32_t i = 0; i < requests.size(); ++i) {
    const SampleResult alone = sample_one(requests[i]);
    EXPECT_EQ(std::memcmp(&alone, &together.results[i], sizeof alone), 0) << i;
  }
}

// Equal logits: every cut falls between equals, where only the lower ids stay.
TEST_F(SampleKernelsTest, CutsAmongEqualsKeepTheLowerIds) {
  Request request;
  request.logits.assign(200, 1.0f);
  request.row.temperature = 0.7f;
  request.row.seed = 5;
  const auto highest = [&] {
    int32_t top = -1;
    for (uint32_t position = 0; position < 150; ++position) {
      request.row.position = position;
      top = std::max(top, sample_one(request).token);
    }
    return top;
  };
  request.row.top_k = 7;
  EXPECT_EQ(highest(), 6);
  request.row.top_k = 0;
  request.row.top_p = 0.05f;  // as a float a little more than ten of two hundred
  EXPECT_EQ(highest(), 10);
  request.row.top_p = 0.0625f;
  EXPECT_EQ(highest(), 12);  // 12.5: thirteen of them
  request.row.top_k = 3;
  request.row.top_p = 0.5f;
  EXPECT_EQ(highest(), 1);
  request.logits[150] = 1.5f;
  request.row.top_p = 1.0f;
  request.row.top_k = 2;
  EXPECT_EQ(highest(), 150);
  request.row.min_p = 0.9f;
  for (uint32_t i = 0; i < 20; ++i) {
    request.row.position = i;
    EXPECT_EQ(sample_one(request).token, 150);
  }
}

TEST_F(SampleKernelsTest, LeavesAloneWhatIsOutside) {
  Numbers numbers(24);
  Request request;
  request.logits = random_logits(numbers, 90);
  request.row.temperature = 1.0f;
  request.row.repetition_penalty = 1.2f;
  request.row.frequency_penalty = 0.5f;
  request.row.generated_begin = 1;
  request.history = {3, 5, 5};
  request.biases = {{4, 2.0f}};
  const SampleResult inside = sample_one(request);
  request.history = {3, -1, 5, 90, 5, std::numeric_limits<int32_t>::max()};
  request.biases = {{-1, 9.0f}, {4, 2.0f}, {90, 9.0f}, {-1, 9.0f}};
  request.row.vocab_limit = 4000;
  const SampleResult outside = sample_one(request);
  EXPECT_EQ(std::memcmp(&inside, &outside, sizeof inside), 0);
  request.row.top_logprobs = 1000;
  EXPECT_EQ(sample_one(request).top_count, kTopLogprobsMax);
}

TEST_F(SampleKernelsTest, EveryTokenOfALongHistoryCounts) {
  Request request;
  request.logits.assign(50, 2.0f);
  request.row.presence_penalty = 0.5f;
  request.row.frequency_penalty = 0.001f;
  for (int32_t i = 0; i < 5000; ++i) request.history.push_back(i % 50 == 17 ? 16 : i % 50);
  request.row.generated_begin = 40;
  EXPECT_EQ(sample_one(request).token, 17);
  request.history.push_back(17);
  request.biases = {{16, 0.05f}, {17, -1.0f}, {16, 0.3f}, {16, -0.2f}};
  const Drawn cpu = sample({request}, false);
  expect_same(sample_one(request), cpu.results[0], "history of 5001");
}

}  // namespace
}  // namespace dsv3::row_test
