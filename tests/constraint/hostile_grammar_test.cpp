// Grammars made to be slow or large end in a result or in LIMIT, soon: chains and fans of rules,
// readings that double, programs that do not fit, schemas that are long.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "constraint/constraint.h"
#include "constraint/json_schema.h"
#include "support/busy_machine.h"
#include "support/expect_error.h"
#include "text/text_fixture.h"

namespace dsv3 {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kAttempts = 1;  // nothing is timed
#else
constexpr int kAttempts = 3;
#endif

constexpr double kSecondsMax = 0.25;  // of the processor: the machine may be busy

class HostileGrammarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = test::small_tokenizer();
    trie_ = make_token_trie(*tokenizer_);
  }

  std::shared_ptr<Constraint> compile(const Grammar& grammar, ConstraintOptions options = {}) {
    const auto vocab = static_cast<uint32_t>(tokenizer_->vocab_size());
    return std::make_shared<Constraint>(grammar, trie_, std::span<const int32_t>(), vocab, options);
  }

  Status status_soon(const Grammar& grammar) {
    return status_soon([&]() -> const Grammar& { return grammar; });
  }
  Status schema_status_soon(const std::string& schema) {
    return status_soon([&] {
      Grammar grammar({});
      build_json_schema(grammar, schema, {});
      return grammar;
    });
  }

  // The status of making the grammar, of compiling, and of the first mask when that succeeds; the
  // best of three tries.
  template <typename MakeGrammar>
  Status status_soon(const MakeGrammar& make_grammar) {
    Status status = Status::kOk;
    double taken = 1e9;
    for (int attempt = 0; attempt < kAttempts && taken > kSecondsMax; ++attempt) {
      const std::clock_t begin = std::clock();
      try {
        ConstraintCursor cursor(compile(make_grammar()));
        std::vector<uint32_t> allowed((static_cast<size_t>(tokenizer_->vocab_size()) + 31) / 32);
        cursor.mask(allowed);
      } catch (const Error& error) {
        status = error.status();
      }
      taken = std::min(taken, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LE(taken, taken <= kSecondsMax ? kSecondsMax : kSecondsMax * test::memory_slowdown());
#endif
    return status;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const TokenTrie> trie_;
};

// Rule i is made of what `body` makes of the rule behind it; the last one is "a".
template <typename Body>
Grammar chain(uint32_t count, bool is_backward, const Body& body) {
  Grammar grammar({});
  for (uint32_t i = 0; i < count; ++i) grammar.add_rule();
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t rule = is_backward ? count - 1 - i : i;
    if (rule + 1 == count) {
      grammar.define(rule, grammar.bytes("a"));
    } else {
      grammar.define(rule, body(grammar, rule + 1));
    }
  }
  return grammar;
}

TEST_F(HostileGrammarTest, ChainsOfRules) {
  for (const bool is_backward : {false, true}) {
    const Grammar first = chain(20000, is_backward, [](Grammar& grammar, RuleId next) {
      const ExprId parts[] = {grammar.call(next), grammar.bytes("b")};
      return grammar.sequence(parts);
    });
    EXPECT_EQ(status_soon(first), Status::kLimit) << "deeper than depth_max";
    const Grammar last = chain(20000, is_backward, [](Grammar& grammar, RuleId next) {
      const ExprId parts[] = {grammar.bytes("b"), grammar.repeat(grammar.call(next), 0, 1)};
      return grammar.sequence(parts);
    });
    EXPECT_EQ(status_soon(last), Status::kOk);
    const Grammar longer = chain(100000, is_backward, [](Grammar& grammar, RuleId next) {
      const ExprId parts[] = {grammar.bytes("b"), grammar.repeat(grammar.call(next), 0, 1)};
      return grammar.sequence(parts);
    });
    EXPECT_EQ(status_soon(longer), Status::kLimit);
  }
}

TEST_F(HostileGrammarTest, RulesThatDoubleAtOnePlace) {
  Grammar grammar({});
  constexpr uint32_t kCount = 60;
  for (uint32_t i = 0; i < 2 * kCount; ++i) grammar.add_rule();
  for (uint32_t i = 0; i < 2 * kCount; ++i) {
    const std::string end(1, static_cast<char>('a' + i % 2));
    if (i + 2 >= 2 * kCount) {
      grammar.define(i, grammar.bytes("x"));
      continue;
    }
    const uint32_t next = (i / 2 + 1) * 2;
    const ExprId calls[] = {grammar.call(next), grammar.call(next + 1)};
    const ExprId parts[] = {grammar.choice(calls), grammar.bytes(end)};
    grammar.define(i, grammar.sequence(parts));
  }
  EXPECT_EQ(status_soon(grammar), Status::kLimit);
}

TEST_F(HostileGrammarTest, RulesInACircleThatMatchNothing) {
  Grammar grammar({});
  constexpr uint32_t kCount = 30000;
  for (uint32_t i = 0; i < kCount; ++i) grammar.add_rule();
  for (uint32_t i = 0; i < kCount; ++i) {
    const ExprId parts[] = {grammar.bytes("a"), grammar.call((i * 7919 + 1) % kCount)};
    grammar.define(i, grammar.sequence(parts));
  }
  EXPECT_EQ(status_soon(grammar), Status::kInvalidArgument);
}

TEST_F(HostileGrammarTest, ExpressionsNestedTooDeep) {
  Grammar grammar({});
  ExprId expr = grammar.bytes("a");
  EXPECT_TRUE(throws_error(Status::kLimit, {"nested 2001 deep", "2000"}, [&] {
    while (true) {
      const ExprId parts[] = {expr, grammar.bytes("b")};
      expr = grammar.sequence(parts);
    }
  }));
}

// Each doubles the one before it: 2^40 states written out.
TEST_F(HostileGrammarTest, SharedExpressionsWrittenOut) {
  Grammar grammar({});
  ExprId expr = grammar.bytes("a");
  for (int i = 0; i < 40; ++i) {
    const ExprId parts[] = {expr, expr};
    expr = grammar.sequence(parts);
  }
  grammar.define(grammar.add_rule(), expr);
  EXPECT_EQ(status_soon(grammar), Status::kLimit);
}

TEST_F(HostileGrammarTest, ProgramsThatDoNotFit) {
  Grammar grammar({});
  const ExprId letter = grammar.bytes("a");
  grammar.define(grammar.add_rule(), grammar.repeat(letter, 100000, 100000));
  EXPECT_TRUE(throws_error(Status::kLimit, {"its program needs", "at most 2097152"},
                           [&] { compile(grammar, {.bytes_max = uint64_t{2} << 20}); }));
  EXPECT_EQ(status_soon(grammar), Status::kOk);
}

// An object schema with `count` properties, none of which is required.
std::string optional_properties(int count) {
  std::string out = R"({"type": "object", "additionalProperties": false, "properties": {)";
  for (int i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    out += "\"property_" + std::to_string(i) + R"(": {"type": "string"})";
  }
  return out + "}}";
}

TEST_F(HostileGrammarTest, ManyOptionalProperties) {
  EXPECT_EQ(schema_status_soon(optional_properties(400)), Status::kOk);
  EXPECT_EQ(schema_status_soon(optional_properties(3000)), Status::kLimit);
}

TEST_F(HostileGrammarTest, ChainOfReferences) {
  const auto chain_of = [](int count) {
    std::string out = R"({"$ref": "#/$defs/a0", "$defs": {)";
    for (int i = 0; i < count; ++i) {
      out += "\"a" + std::to_string(i) + R"(": {"type": "object", "properties": {"n": {"$ref": )" +
             R"("#/$defs/a)" + std::to_string(i + 1) + "\"}}},";
    }
    return out + "\"a" + std::to_string(count) + R"(": {"type": "string"}}})";
  };
  EXPECT_EQ(schema_status_soon(chain_of(1000)), Status::kOk);
  EXPECT_EQ(schema_status_soon(chain_of(4000)), Status::kLimit);
}

TEST_F(HostileGrammarTest, CountedArraysInEachOther) {
  std::string schema = R"({"type": "integer"})";
  for (int i = 0; i < 20; ++i) {
    schema = R"({"type": "array", "minItems": 1000, "maxItems": 4000, "items": )" + schema + "}";
  }
  EXPECT_EQ(schema_status_soon(schema), Status::kLimit);
}

// Two automata whose product is larger than both: its work is the grammar's.
TEST_F(HostileGrammarTest, ProductsAreCounted) {
  const auto status_of_product = [](uint64_t work_max) {
    GrammarLimits limits;
    limits.work_max = work_max;
    Grammar grammar(limits);
    try {
      build_json_schema(grammar, R"({"type": "string", "pattern": "^[a-z]+$", "maxLength": 2000})",
                        {});
    } catch (const Error& error) {
      return error.status();
    }
    return Status::kOk;
  };
  EXPECT_EQ(status_of_product(GrammarLimits{}.work_max), Status::kOk);
  Grammar lengths({});
  const CodeRange all{0, 0x10FFFF};
  compile_regular(lengths, lengths.repeat(lengths.codes(std::span(&all, 1)), 0, 2000));
  const uint64_t without_product = lengths.work();
  EXPECT_EQ(status_of_product(without_product), Status::kLimit);
}

}  // namespace
}  // namespace dsv3
