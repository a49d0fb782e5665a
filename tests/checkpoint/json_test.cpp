// Goal: JSON from a hostile file is either read exactly or refused with the place, the value found
// and the value wanted. Method: one case per rule, a deep and a wide document, seeded damage.
#include "checkpoint/json.h"

#include <limits>
#include <string>
#include <utility>

#include "base/random.h"
#include "support/expect_error.h"
#include "support/failing_new.h"

namespace dsv3 {
namespace {

constexpr std::string_view kConfig = R"({
  "hidden_size": 7168, "rms_norm_eps": 1e-06, "norm_topk_prob": true, "q_lora_rank": null,
  "hidden_act": "silu", "eos_token_id": [1, -2], "bos_token_id": 0, "big": 18446744073709551615,
  "rope_scaling": {"factor": 40, "type": "yarn", "list": [[1], [{"deep": 2.5}]]},
  "snow\u2603man": "\"\\\n", "whole": 4096.0, "min": -9223372036854775808
})";

JsonDocument config() { return JsonDocument::parse(kConfig, "config.json"); }

testing::AssertionResult refused(std::initializer_list<std::string_view> words,
                                 std::string_view text) {
  return throws_error(Status::kInvalidModel, words, [&] { JsonDocument::parse(text, "f.json"); });
}

TEST(Json, ReadsEveryKind) {
  const JsonDocument document = config();
  const JsonValue root = document.root();
  EXPECT_EQ(root.uint32("hidden_size"), 7168u);
  EXPECT_EQ(root.number("hidden_size"), 7168.0);
  EXPECT_EQ(root.number("rms_norm_eps"), 1e-6);
  EXPECT_TRUE(root.boolean("norm_topk_prob"));
  EXPECT_EQ(root.string("hidden_act"), "silu");
  EXPECT_EQ(root.int_list("eos_token_id"), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(root.int_list("bos_token_id"), std::vector<int64_t>{0});
  EXPECT_EQ(root.uint64("big"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(root.int64("min"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(root.string("snow\xe2\x98\x83man"), "\"\\\n");
  EXPECT_EQ(root.object("rope_scaling").string("type"), "yarn");
  EXPECT_EQ(root.object("rope_scaling").array("list").item(1).item(0).number("deep"), 2.5);
}

TEST(Json, TellsAbsentFromNull) {
  const JsonDocument document = config();
  const JsonValue root = document.root();
  EXPECT_TRUE(root.has("q_lora_rank"));
  EXPECT_TRUE(root.is_null("q_lora_rank"));
  EXPECT_FALSE(root.has("absent"));
  EXPECT_TRUE(root.is_null("absent"));
  EXPECT_FALSE(root.find("q_lora_rank"));
  EXPECT_EQ(root.uint32("q_lora_rank", 7), 7u);
  EXPECT_EQ(root.uint32("absent", 7), 7u);
  EXPECT_EQ(root.uint32("hidden_size", 7), 7168u);
  EXPECT_EQ(root.string("absent", "x"), "x");
  EXPECT_TRUE(root.boolean("absent", true));
  EXPECT_EQ(root.number("absent", 0.5), 0.5);
  EXPECT_EQ(root.int64("absent", -1), -1);
  EXPECT_EQ(root.uint64("absent", 9), 9u);
}

TEST(Json, KeepsFileOrderAndSurvivesMoves) {
  JsonDocument document = config();
  const JsonValue root = document.root();
  const JsonDocument moved = std::move(document);
  EXPECT_EQ(root.size(), 12u);
  EXPECT_EQ(root.key(0), "hidden_size");
  EXPECT_EQ(root.key(11), "min");
  EXPECT_EQ(root.item(4).as_string(), "silu");
  EXPECT_EQ(moved.root().get("hidden_size").size(), 0u);
}

TEST(Json, NamesPlaceValueAndWish) {
  const JsonDocument document = config();
  const JsonValue root = document.root();
  const auto wrong = [](std::initializer_list<std::string_view> words, const auto& body) {
    return throws_error(Status::kInvalidModel, words, body);
  };
  EXPECT_TRUE(wrong({"config.json: \"hidden_act\" is a string (\"silu\"), wanted an integer"},
                    [&] { root.int64("hidden_act"); }));
  EXPECT_TRUE(wrong({"\"rope_scaling.list[1][0].deep\"", "2.5", "wanted an integer"}, [&] {
    root.object("rope_scaling").array("list").item(1).item(0).uint32("deep");
  }));
  EXPECT_TRUE(wrong({"the top level has no \"absent\""}, [&] { root.uint32("absent"); }));
  EXPECT_TRUE(wrong({"\"q_lora_rank\" is null"}, [&] { root.uint32("q_lora_rank"); }));
  EXPECT_TRUE(
      wrong({"eos_token_id[1]", "-2"}, [&] { root.get("eos_token_id").item(1).as_uint32(); }));
  EXPECT_TRUE(wrong({"has 2 items, wanted item 2"}, [&] { root.get("eos_token_id").item(2); }));
  EXPECT_TRUE(wrong({"\"whole\"", "wanted an integer"}, [&] { root.int64("whole"); }));
  EXPECT_TRUE(wrong({"\"big\"", "18446744073709551615"}, [&] { root.int64("big"); }));
  EXPECT_TRUE(wrong({"\"min\"", "4294967295"}, [&] { root.uint32("min", 0); }));
  EXPECT_TRUE(wrong({"an object, wanted a number"}, [&] { root.number("rope_scaling"); }));
  EXPECT_TRUE(wrong({"wanted an object"}, [&] { root.object("eos_token_id"); }));
  EXPECT_TRUE(wrong({"wanted an array"}, [&] { root.array("rope_scaling"); }));
  EXPECT_TRUE(wrong({"wanted an object"}, [&] { root.get("hidden_act").has("x"); }));
  EXPECT_TRUE(
      wrong({"wanted an integer or an array of integers"}, [&] { root.int_list("rope_scaling"); }));
}

TEST(Json, RefusesBadText) {
  EXPECT_TRUE(refused({"f.json", "invalid JSON"}, ""));
  EXPECT_TRUE(refused({"invalid JSON at byte"}, R"({"a":1)"));
  EXPECT_TRUE(refused({"invalid JSON", "x"}, "{} x"));
  EXPECT_TRUE(refused({"invalid JSON"}, "{'a':1}"));
  EXPECT_TRUE(refused({"invalid JSON"}, R"({"a":1,})"));
  EXPECT_TRUE(refused({"invalid JSON"}, R"({"a":01})"));
  EXPECT_TRUE(refused({"invalid JSON"}, R"({"a":NaN})"));
  EXPECT_TRUE(refused({"invalid JSON"}, R"({"a":1e999})"));
  EXPECT_TRUE(refused({"invalid JSON"}, R"({"a":"\ud800"})"));
  EXPECT_TRUE(refused({"invalid JSON"}, "{\"a\":\"\n\"}"));
  EXPECT_TRUE(refused({"NUL byte at byte 2"}, std::string_view("{}\0{}", 5)));
}

TEST(Json, RefusesInvalidUtf8) {
  // Lone continuation, overlong forms, a surrogate, above U+10FFFF, cut sequences.
  for (const char* const bytes :
       {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xe2\x98", "\xf0\x9f\x98"}) {
    EXPECT_TRUE(refused({"invalid UTF-8 at byte 2"}, std::string("[\"") + bytes + "\"]"));
    EXPECT_TRUE(refused({"invalid UTF-8 at byte 1"}, std::string("[") + bytes));
  }
  const std::string good = "[\"\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"]";
  EXPECT_EQ(JsonDocument::parse(good, "f").root().item(0).as_string(),
            good.substr(2, good.size() - 4));
}

TEST(Json, RefusesAKeyTwiceAtAnyDepth) {
  EXPECT_TRUE(refused({"key \"a\"", "twice"}, R"({"a":1,"b":2,"a":3})"));
  EXPECT_TRUE(refused({"key \"b\"", "twice"}, R"({"a":{"c":1,"b":2,"b":3}})"));
  EXPECT_TRUE(refused({"key \"a\"", "twice"}, R"({"a":1,"\u0061":2})"));
  const JsonDocument fine =
      JsonDocument::parse(R"({"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]})", "f");
  EXPECT_EQ(fine.root().object("a").object("a").int64("a"), 1);
}

TEST(Json, HoldsItsLimits) {
  const std::string deep = std::string(16, '[') + std::string(16, ']');
  EXPECT_EQ(JsonDocument::parse(deep, "f").root().size(), 1u);
  EXPECT_TRUE(refused({"deeper than 16"}, "[" + deep + "]"));
  EXPECT_TRUE(refused({"deeper than 16"}, std::string(1000000, '[')));
  JsonLimits limits;
  limits.bytes_max = 10;
  EXPECT_TRUE(throws_error(Status::kLimit, {"11 bytes", "at most 10"},
                           [&] { JsonDocument::parse("[         ]", "f", limits); }));
  limits.bytes_max = 100;
  limits.values_max = 3;
  EXPECT_EQ(JsonDocument::parse("[1,2]", "f", limits).root().size(), 2u);
  EXPECT_TRUE(throws_error(Status::kLimit, {"more than 3"},
                           [&] { JsonDocument::parse("[1,2,3]", "f", limits); }));
}

TEST(Json, QuotesForMessages) {
  EXPECT_EQ(quote("a\"b\\c\n\x1b"), R"("a\"b\\c\x0a\x1b")");
  EXPECT_EQ(quote(std::string(121, 'x')), '"' + std::string(120, 'x') + "\"...");
  EXPECT_EQ(quote(std::string(119, 'x') + "\xe2\x98\x83"), '"' + std::string(119, 'x') + "\"...");
  EXPECT_EQ(quote(""), "\"\"");
}

TEST(Json, SurvivesSeededDamage) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::string text(kConfig);
    for (uint64_t i = 0; i <= seed % 3; ++i) {
      const uint64_t bits = random_bits(seed, i);
      text[bits % text.size()] = static_cast<char>(bits >> 32);
    }
    if (seed % 5 == 0) text.resize(random_bits(seed, 9) % text.size());
    try {
      const JsonDocument document = JsonDocument::parse(text, "config.json");
      const JsonValue root = document.root();
      for (uint64_t i = 0; i < root.size(); ++i) EXPECT_FALSE(root.item(i).where().empty());
    } catch (const Error& error) {
      EXPECT_EQ(error.message().rfind("config.json", 0), 0u) << error.message();
    }
  }
}

TEST(Json, SurvivesEveryFailedAllocation) {
  const uint64_t live = FailingNew::blocks_live();
  bool reached_end = false;
  for (uint64_t n = 0; n < 1000 && !reached_end; ++n) {
    const FailingNew failing(n);
    try {
      const JsonDocument document = config();
      reached_end = true;
    } catch (const std::bad_alloc&) {
    }
  }
  EXPECT_TRUE(reached_end);
  EXPECT_EQ(FailingNew::blocks_live(), live);
}

}  // namespace
}  // namespace dsv3
