// The shipped model on the GPU against the same model on the CPU, both against double precision:
// teacher-forced logits and greedy text.
#include "gpu/gpu_fixture.h"
#include "reference/reference_checkpoint.h"

namespace dsv3::gpu_test {
namespace {

const std::string kSample = DSV3_SAMPLE_MODEL;
constexpr const char* kText =
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n";
constexpr size_t kPositions = 20;

double relative_error(const std::vector<float>& actual, const double* expected) {
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

// Relative L2 errors of the logits after each of the tokens, appended one by one.
std::vector<double> errors(dsv3_context* context, const std::vector<int32_t>& tokens,
                           const reference::Values& expected) {
  std::vector<double> out;
  const dsv3_sequence sequence = start(context, {});
  const size_t vocab = info_of(context).vocab_size;
  for (size_t t = 0; t < tokens.size(); ++t) {
    EXPECT_EQ(dsv3_sequence_append_tokens(context, sequence, &tokens[t], 1), DSV3_OK);
    out.push_back(relative_error(logits_of(context, sequence), expected.data() + t * vocab));
  }
  EXPECT_EQ(dsv3_sequence_destroy(context, sequence), DSV3_OK);
  return out;
}

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Both devices round where the spec says; they only add in another order. So the GPU may be no
// further from the truth than the CPU is, up to the spread of such means: a quarter.
TEST(GpuEndToEnd, TeacherForcedLogitsAreAsNearToTheTruthAsTheCpus) {
  const Context gpu = open(kSample);
  const Context cpu = open(kSample, {.kind = DSV3_DEVICE_CPU});
  std::vector<int32_t> tokens = tokenize(cpu.get(), kText);
  ASSERT_GE(tokens.size(), kPositions);
  tokens.resize(kPositions);
  const reference::Values expected = reference::load_reference_model(kSample).forward(tokens);
  const double gpu_error = mean(errors(gpu.get(), tokens, expected));
  const double cpu_error = mean(errors(cpu.get(), tokens, expected));
  RecordProperty("gpu_error", std::to_string(gpu_error));
  RecordProperty("cpu_error", std::to_string(cpu_error));
  EXPECT_LE(gpu_error, cpu_error * 1.25);
  EXPECT_GT(gpu_error, 0.0);
}

// The first token where the texts part must have been a near tie: the CPU's own lead of its token
// over the GPU's is within what the two devices' log-probabilities differ by on common tokens.
TEST(GpuEndToEnd, GreedyTextPartsOnlyAtNearTies) {
  const Context gpu = open(kSample);
  const Context cpu = open(kSample, {.kind = DSV3_DEVICE_CPU});
  const std::vector<int32_t> prompt = tokenize(cpu.get(), "ROMEO:\n");
  const uint64_t length = is_emulated() ? 24 : 200;
  Generated text[2];
  dsv3_context* contexts[2] = {cpu.get(), gpu.get()};
  for (int i = 0; i < 2; ++i) {
    dsv3_generate_options options = options_of(length, &text[i]);
    options.top_logprobs = DSV3_TOP_LOGPROBS_MAX;
    const dsv3_sequence sequence = start(contexts[i], prompt);
    ASSERT_EQ(dsv3_generate(contexts[i], sequence, &options, nullptr), DSV3_OK)
        << message_of(contexts[i]);
    ASSERT_EQ(text[i].tokens.size(), length);
  }
  double spread = 0.0;  // largest difference of a likely token's log-probability so far
  for (size_t t = 0; t < length; ++t) {
    const Drawn& a = text[0].tokens[t];
    const Drawn& b = text[1].tokens[t];
    if (a.token == b.token) {
      spread = std::max(spread, std::fabs(static_cast<double>(a.top_logprobs[0]) -
                                          static_cast<double>(b.top_logprobs[0])));
      continue;
    }
    const auto other = std::find(a.top_tokens.begin(), a.top_tokens.end(), b.token);
    ASSERT_NE(other, a.top_tokens.end()) << "position " << t << ": " << b.token << " is unlikely";
    const double margin =
        static_cast<double>(a.top_logprobs[0]) -
        static_cast<double>(a.top_logprobs[static_cast<size_t>(other - a.top_tokens.begin())]);
    RecordProperty("first_divergence", std::to_string(t));
    RecordProperty("margin", std::to_string(margin));
    EXPECT_LE(margin, 4.0 * std::max(spread, 0.01)) << "position " << t;
    return;
  }
  RecordProperty("first_divergence", "none");
}

// STRICT on the device: the prompt in one piece or in many, alone or beside others.
TEST(GpuEndToEnd, TokensDoNotDependOnChunksOrCompany) {
  const Context alone = open(kSample, {.step_tokens_max = 64});
  const Context cut = open(kSample, {.step_tokens_max = 5});
  const std::vector<int32_t> prompt = tokenize(alone.get(), "KING RICHARD:\nNow is the winter");
  const uint64_t length = is_emulated() ? 8 : 64;
  Generated first;
  Generated second;
  Generated neighbour;
  dsv3_generate_options options = options_of(length, &first);
  options.temperature = 0.8f;
  options.seed = 11;
  ASSERT_EQ(dsv3_generate(alone.get(), start(alone.get(), prompt), &options, nullptr), DSV3_OK);
  options.user_data = &second;
  dsv3_generate_options other = options_of(length, &neighbour);
  const dsv3_sequence beside = start(cut.get(), tokenize(cut.get(), "JULIET:\nO "));
  ASSERT_EQ(dsv3_sequence_generate(cut.get(), beside, &other), DSV3_OK);
  ASSERT_EQ(dsv3_generate(cut.get(), start(cut.get(), prompt), &options, nullptr), DSV3_OK);
  EXPECT_EQ(ids_of(first), ids_of(second));
  EXPECT_EQ(first.finish, DSV3_FINISH_MAX_TOKENS);
}

}  // namespace
}  // namespace dsv3::gpu_test
