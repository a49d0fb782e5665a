// An engine with a pass in flight, and the same calls without flight to compare with.
#pragma once

#include "engine/engine_fixture.h"

namespace dsv3::test {

inline EngineConfig ahead(EngineConfig config = EngineConfig()) {
  config.passes_ahead = 1;
  return config;
}

// Positions from `begin` on draw 'x', but `token` at `at`.
inline void draw_at(TestEngine& test, uint32_t at, int32_t token) {
  test.model.script.assign(512, 'x');
  test.model.script[at] = token;
}

struct EngineFlight : testing::Test {
  EngineFlight() { test.model.draws_eos = false; }
  ~EngineFlight() override { EXPECT_EQ(test.model.defect, ""); }

  // Decodes, with one pass in flight.
  SequenceId flying(std::string_view prompt = "abc", uint32_t max_tokens = 0) {
    const SequenceId id = test.create(prompt);
    test.engine.generate(id, TestEngine::options(max_tokens));
    EXPECT_EQ(test.engine.step(0), StepState::kReady);
    EXPECT_EQ(test.model.in_flight(), 1u);
    return id;
  }

  // What the next generation of `id` says is what it says with these tokens in a fresh sequence of
  // an engine without flight. Forms matter: `prompt` was appended, then `said` was generated.
  void continues_as_without_flight(SequenceId id, std::string_view prompt, uint32_t said,
                                   std::string_view more) {
    TestEngine alone;
    alone.model.draws_eos = false;
    alone.model.script = test.model.script;
    const SequenceId same = alone.create(prompt);
    if (said > 0) {
      alone.engine.generate(same, TestEngine::options(said));
      alone.finish(same);
    }
    alone.append(same, more);
    test.append(id, more);
    test.model.script.clear();
    alone.model.script.clear();
    std::vector<float> logits(kTinyVocab);
    std::vector<float> wanted_logits(kTinyVocab);
    if (wants_logits) {
      test.engine.logits(id, logits);
      alone.engine.logits(same, wanted_logits);
      EXPECT_EQ(logits, wanted_logits);
    }
    test.engine.generate(id, TestEngine::options(20));
    alone.engine.generate(same, TestEngine::options(20));
    const Heard heard = test.finish(id);
    const Heard wanted = alone.finish(same);
    EXPECT_EQ(heard.tokens, wanted.tokens);
    EXPECT_EQ(heard.text, wanted.text);
    EXPECT_EQ(heard.end.position, wanted.end.position);
  }

  TestEngine test{ahead()};
  bool wants_logits = false;
};

}  // namespace dsv3::test
