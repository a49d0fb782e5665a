// Goal: a stop string ends the text where it begins, wherever chunks are cut, and leaks nothing.
// Method: known strings at every pair of cuts, random ones against a search in the whole text.
#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include "text/text_fixture.h"

namespace dsv3::test {
namespace {

struct Result {
  std::string text;
  int32_t matched;
  bool operator==(const Result&) const = default;
};

void PrintTo(const Result& result, std::ostream* out) {
  *out << result.text << " / " << result.matched;
}

// The stop string complete first; of several the longest, then the first given.
Result search(const std::vector<std::string_view>& stops, std::string_view text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    int32_t best = StopMatcher::kNoMatch;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool longer = best < 0 || stops[i].size() > stops[static_cast<size_t>(best)].size();
      if (text.substr(0, end).ends_with(stops[i]) && longer) best = static_cast<int32_t>(i);
    }
    if (best >= 0) {
      return {std::string(text.substr(0, end - stops[static_cast<size_t>(best)].size())), best};
    }
  }
  return {std::string(text), StopMatcher::kNoMatch};
}

Result stream(StopMatcher& matcher, const std::vector<std::string_view>& parts) {
  std::string out;
  for (const std::string_view part : parts) matcher.feed(part, out);
  matcher.flush(out);
  return {out, matcher.matched()};
}

TEST(StopMatcher, EveryPairOfCutsGivesTheSame) {
  const std::vector<std::vector<std::string_view>> sets = {
      {"###"},          {"abab", "bac"},    {"\n\nUser:"},
      {"aab"},          {"b", "abc"},       {"abcd", "bcd", "cd"},
      {"\xE4\xBD\xA0"}, {"</answer>", "<"}, {"zzz"}};
  const std::string_view texts[] = {"xx##y###z",        "ababac",   "Hi\n\n\nUser: x",
                                    "aaaaab!",          "xxabcdyy", "say \xE4\xBD\xA0 now",
                                    "a</answ</answer>", "zz",       ""};
  for (const auto& stops : sets) {
    for (const std::string_view text : texts) {
      for (size_t a = 0; a <= text.size(); ++a) {
        for (size_t b = a; b <= text.size(); ++b) {
          StopMatcher matcher(stops);
          EXPECT_EQ(stream(matcher, {text.substr(0, a), text.substr(a, b - a), text.substr(b)}),
                    search(stops, text));
        }
      }
    }
  }
}

TEST(StopMatcher, RandomTextsOfTwoLetters) {
  std::mt19937 random(8);
  const auto letters = [&](size_t count) {
    std::string text;
    while (count-- > 0) text.push_back(random() % 2 == 0 ? 'a' : 'b');
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> owned;
    for (size_t i = 1 + random() % 4; i > 0; --i) owned.push_back(letters(1 + random() % 7));
    const std::vector<std::string_view> stops(owned.begin(), owned.end());
    const std::string text = letters(random() % 40);
    StopMatcher matcher(stops);
    std::string out;
    int32_t matched = StopMatcher::kNoMatch;
    for (size_t at = 0; at < text.size();) {
      const size_t count = std::min<size_t>(1 + random() % 6, text.size() - at);
      out.reserve(text.size() + kStopStringBytesMax);
      matched = matcher.feed(std::string_view(text).substr(at, count), out);
      at += count;
      // Nothing more is held back than could begin a stop string.
      if (matched < 0) {
        ASSERT_EQ(out + text.substr(at - matcher.held_bytes(), matcher.held_bytes()),
                  text.substr(0, at));
      }
    }
    matcher.flush(out);
    ASSERT_EQ((Result{out, matched}), search(stops, text)) << text;
  }
}

TEST(StopMatcher, NothingIsWrittenAfterAMatchUntilReset) {
  const std::vector<std::string_view> stops{"END"};
  StopMatcher matcher(stops);
  std::string out;
  EXPECT_EQ(matcher.feed("one EN", out), StopMatcher::kNoMatch);
  EXPECT_EQ(out, "one ");
  EXPECT_EQ(matcher.held_bytes(), 2U);
  EXPECT_EQ(matcher.feed("D two", out), 0);
  EXPECT_EQ(matcher.feed("three", out), 0);
  matcher.flush(out);
  EXPECT_EQ(out, "one ");
  matcher.reset();
  EXPECT_EQ(matcher.feed("four", out), StopMatcher::kNoMatch);
  EXPECT_EQ(out, "one four");
}

TEST(StopMatcher, WithoutStringsTextPassesThrough) {
  StopMatcher matcher;
  std::string out;
  EXPECT_TRUE(matcher.is_empty());
  EXPECT_EQ(matcher.feed("text", out), StopMatcher::kNoMatch);
  matcher.flush(out);
  EXPECT_EQ(out, "text");
}

TEST(StopMatcher, BadStringsAreRefused) {
  const std::string longest(kStopStringBytesMax, 'x');
  const std::string too_long = longest + "x";
  const auto refusal = [](std::vector<std::string_view> stops) {
    return outcome_of([&] { StopMatcher matcher(stops); });
  };
  EXPECT_EQ(refusal(std::vector<std::string_view>(kStopStringsMax, longest)).status, Status::kOk);
  EXPECT_EQ(refusal(std::vector<std::string_view>(kStopStringsMax + 1, "x")).status,
            Status::kLimit);
  EXPECT_EQ(refusal({"ok", too_long}).status, Status::kLimit);
  EXPECT_EQ(refusal({"ok", ""}).status, Status::kInvalidArgument);
  const Outcome invalid = refusal({"ok", "a\x80"});
  EXPECT_EQ(invalid.status, Status::kInvalidArgument);
  EXPECT_EQ(invalid.message, "stop string 1 is not UTF-8 at byte 1");
}

}  // namespace
}  // namespace dsv3::test
