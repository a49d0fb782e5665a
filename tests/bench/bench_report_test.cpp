// Do table, JSON, CSV and plot say what was measured? Reports with made-up figures, read back.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report.h"

namespace dsv3::bench {
namespace {

CaseResult decode_result(uint32_t context) {
  CaseResult result{.model = "mini",
                    .dtype = "bf16",
                    .asked = {.context = context, .batch = 2, .tokens = 10},
                    .threads = 2,
                    .level = "avx2",
                    .seconds = {0.5, 0.25, 1.0},
                    .steps = {0.1, 0.2, 0.3}};
  result.cost = {.bytes = 5e9, .operations = 1e9 + 1e6 * context, .attention_ops = 1e6 * context};
  result.ceilings = {.read_bytes = 20e9, .bf16_ops = 1e12};
  result.around.assign(4, result.ceilings);
  return result;
}

CaseResult prefill_result() {
  CaseResult result{.model = "mini",
                    .dtype = "bf16",
                    .asked = {.prompt = 512},
                    .threads = 2,
                    .level = "avx2",
                    .seconds = {2.0}};
  result.cost = {.bytes = 1e9, .operations = 1e12};
  result.ceilings = {.read_bytes = 20e9, .bf16_ops = 1e12};
  result.around.assign(2, result.ceilings);
  return result;
}

OpProfile profile() {
  OpProfile made{.model = "a<b&c", .dtype = "bf16", .threads = 1, .pass_seconds = 3e-3};
  made.ceilings = {.read_bytes = 10e9, .bf16_ops = 1e12};
  made.ops = {{.name = "linear q_a + kv_a",
               .calls = 3,
               .seconds = 1e-3,
               .alone_seconds = 2e-3,
               .cost = {.bytes = 5e6, .operations = 1e6}},
              {.name = "route", .calls = 1, .seconds = 2e-3, .cost = {.operations = 1e9}}};
  return made;
}

ModelReport report() {
  ModelReport made{.build = "build \"1\"", .device = "cpu"};
  made.ceilings = {{.threads = 2, .level = "avx2", .how = "how", .best = {.read_bytes = 20e9}}};
  made.loads = {{.model = "mini", .dtype = "bf16", .threads = 2, .seconds = {0.3, 0.1, 0.2}}};
  made.cases = {prefill_result(), decode_result(0), decode_result(2000)};
  return made;
}

TEST(BenchReport, SpreadIsMedianAndEnds) {
  const Spread odd = spread({3.0, 1.0, 2.0});
  EXPECT_EQ(odd.median, 2.0);
  EXPECT_EQ(odd.min, 1.0);
  EXPECT_EQ(odd.max, 3.0);
  EXPECT_EQ(spread({4.0, 1.0}).median, 2.5);
}

TEST(BenchReport, RatesComeFromTheMedianRun) {
  const CaseResult decode = decode_result(0);
  EXPECT_DOUBLE_EQ(decode.tokens_per_second().median, 40.0);
  EXPECT_DOUBLE_EQ(decode.tokens_per_second().min, 20.0);
  EXPECT_DOUBLE_EQ(decode.tokens_per_second().max, 80.0);
  EXPECT_DOUBLE_EQ(decode.gb_per_step(), 0.5);
  EXPECT_DOUBLE_EQ(decode.bytes_per_second().median, 10e9);
  EXPECT_DOUBLE_EQ(decode.ratio().median, 0.5);            // of reading
  EXPECT_DOUBLE_EQ(prefill_result().ratio().median, 0.5);  // of bf16 products
  CaseResult without = decode_result(0);
  without.around.clear();
  EXPECT_EQ(without.ratio().median, 0.0);
}

// Runs of 10, 20 and 5 GB/s: a memory that was twice as fast around the last counts for it alone.
TEST(BenchReport, RatiosAreToTheCeilingsAroundEachRun) {
  CaseResult drifting = decode_result(0);
  drifting.around[3].read_bytes = 40e9;
  EXPECT_DOUBLE_EQ(drifting.ratio().min, 0.125);
  EXPECT_DOUBLE_EQ(drifting.ratio().median, 0.5);
  EXPECT_DOUBLE_EQ(drifting.ratio().max, 1.0);
}

TEST(BenchReport, JsonReadsBack) {
  ModelReport made = report();
  made.profiles = {profile()};
  const nlohmann::json read = nlohmann::json::parse(report_json(made));
  EXPECT_EQ(read["build"], "build \"1\"");
  EXPECT_EQ(read["loads"][0]["seconds"].size(), 3u);
  EXPECT_EQ(read["cases"].size(), 3u);
  EXPECT_DOUBLE_EQ(read["cases"][1]["tokens_per_s"], 40.0);
  EXPECT_DOUBLE_EQ(read["cases"][1]["ratio"], 0.5);
  EXPECT_EQ(read["cases"][2]["context"], 2000);
  EXPECT_EQ(read["profiles"][0]["ops"][0]["calls"], 3);
  EXPECT_DOUBLE_EQ(read["profiles"][0]["ops"][0]["floor_us"], 500.0);
  EXPECT_DOUBLE_EQ(read["profiles"][0]["ops"][1]["floor_us"], 1000.0);
}

// tests/house/gpu_table.py finds its figures by these names.
TEST(BenchReport, FiguresKeepTheirNames) {
  ModelReport made = report();
  made.cases[1].asked.batch = 1;
  const nlohmann::json read = nlohmann::json::parse(report_json(made));
  std::vector<std::string> names;
  for (const auto& figure : read["figures"]) names.push_back(figure["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"load", "prefill of 512 tokens and the first token",
                                             "decode one token, p50", "decode one token, p99"}));
  EXPECT_DOUBLE_EQ(read["figures"][0]["us"], 0.2e6);
  EXPECT_DOUBLE_EQ(read["figures"][2]["us"], 0.2e6);
}

TEST(BenchReport, TableSaysWhatContextAdds) {
  const std::string table = report_table(report());
  EXPECT_NE(table.find("50.0 % read"), std::string::npos) << table;
  EXPECT_NE(table.find("50.0 % bf16"), std::string::npos) << table;
  EXPECT_NE(table.find("2000 tokens of context add"), std::string::npos) << table;
  EXPECT_EQ(report_table({.cases = {decode_result(2000)}}).find("add"), std::string::npos);
}

TEST(BenchReport, CsvHasAsManyFieldsInEveryLine) {
  const std::string csv = report_csv(report());
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), ','), 4 * 17);
}

TEST(BenchReport, PlotStacksEveryOpTwiceAndEscapesNames) {
  const std::string svg = profile_plot({profile(), profile(), profile()});
  size_t bars = 0;
  for (size_t at = svg.find("stroke=\"white\""); at != std::string::npos;
       at = svg.find("stroke=\"white\"", at + 1)) {
    ++bars;
  }
  EXPECT_EQ(bars, 3u * 2u * 2u);
  EXPECT_NE(svg.find("a&lt;b&amp;c"), std::string::npos);
  EXPECT_EQ(svg.find("a<b"), std::string::npos);
  // The slower op lies at the bottom, two thirds of the bar.
  EXPECT_NE(svg.find("height=\"240.00\" fill=\"#4e79a7\""), std::string::npos) << svg;
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
}

}  // namespace
}  // namespace dsv3::bench
