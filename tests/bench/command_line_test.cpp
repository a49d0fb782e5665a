// Does the command line become what it says, and is every word that is not known refused by name?
#include "command_line.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "dsv3.h"
#include "versus.h"

namespace dsv3::bench {
namespace {

CommandLine parse(std::vector<const char*> words) {
  words.insert(words.begin(), "dsv3-bench");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string refused(const std::vector<const char*>& words) {
  try {
    parse(words);
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kInvalidArgument);
    return error.message();
  }
}

TEST(CommandLine, TakesFoldersCasesAndOptions) {
  const CommandLine line = parse({"model", "a", "--case", "prompt=512,context=64,threads=1", "b",
                                  "--case", "decode,batch=8,tokens=3,cache=f8", "--runs", "7",
                                  "--cpu-level", "avx2", "--json", "-"});
  EXPECT_EQ(line.command, "model");
  EXPECT_EQ(line.options.models, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(line.options.cases.size(), 2u);
  EXPECT_EQ(line.options.cases[0].prompt, 512u);
  EXPECT_EQ(line.options.cases[0].context, 64u);
  EXPECT_EQ(line.options.cases[0].threads, 1u);
  EXPECT_FALSE(line.options.cases[1].is_prefill());
  EXPECT_EQ(line.options.cases[1].batch, 8u);
  EXPECT_EQ(line.options.cases[1].tokens, 3u);
  EXPECT_TRUE(line.options.cases[1].cache_f8);
  EXPECT_EQ(line.options.cases[1].name(), "decode, batch 8, f8 cache");
  EXPECT_EQ(line.options.runs, 7u);
  EXPECT_EQ(line.options.cpu_level, DSV3_CPU_LEVEL_AVX2);
  EXPECT_EQ(line.options.json, "-");
}

TEST(CommandLine, RefusesByName) {
  EXPECT_EQ(refused({}), "no command");
  EXPECT_EQ(refused({"dance"}), "dance is no command");
  EXPECT_EQ(refused({"model"}), "model needs a folder");
  EXPECT_EQ(refused({"ops", "--swift"}), "--swift is no option");
  EXPECT_EQ(refused({"model", "a", "--runs"}), "--runs has no value");
  EXPECT_EQ(refused({"model", "a", "--runs", "2x"}), "--runs is \"2x\", wanted a number");
  EXPECT_NE(refused({"model", "a", "--runs", "0"}), "accepted");
  EXPECT_NE(refused({"model", "a", "--device", "tpu"}), "accepted");
  for (const char* text : {"", "batch=2", "decode,batch=0", "decode,speed=3", "prompt=", "decode,",
                           "prompt=5,context=99999999999"}) {
    EXPECT_NE(refused({"model", "a", "--case", text}).find("--case"), std::string::npos) << text;
  }
}

TEST(CommandLine, CasesKnowHowLongTheirSequencesGet) {
  EXPECT_EQ(parse_case("prompt=512").positions(5), 514u);
  // One token of prompt, one drawn, and six runs of 64 steps with one untimed before each.
  EXPECT_EQ(parse_case("decode").positions(5), 2u + 6u * 65u);
}

TEST(CommandLine, OtherSideIsTheFirstWithWhatDiffers) {
  const Side base{.name = "a", .library = linked_library(), .options = {.model = "m"}};
  const Side side = other_side(base, "cpu_level=avx2,threads=3,weights=copy,step_tokens=64");
  EXPECT_EQ(side.options.model, "m");
  EXPECT_EQ(side.options.cpu_level, DSV3_CPU_LEVEL_AVX2);
  EXPECT_EQ(side.options.threads, 3u);
  EXPECT_EQ(side.options.weights, DSV3_WEIGHTS_COPY);
  EXPECT_EQ(side.options.step_tokens, 64u);
  EXPECT_THROW(other_side(base, "cpu_level=best9"), Error);
  EXPECT_THROW(other_side(base, "threads=many"), Error);
  EXPECT_THROW(other_side(base, "faster"), Error);
  EXPECT_THROW(other_side(base, "./no/such/library.so"), Error);
}

}  // namespace
}  // namespace dsv3::bench
