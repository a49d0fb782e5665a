#include "versus.h"

#include <cstdio>
#include <memory>

#include "base/error.h"
#include "case_run.h"
#include "model_facts.h"
#include "progress.h"
#include "values.h"

namespace dsv3::bench {
namespace {

uint32_t number(std::string_view word, std::string_view value) {
  const std::optional<uint32_t> found = whole_number(value);
  if (!found) fail(Status::kInvalidArgument, "--versus: \"", word, "\" has no number");
  return *found;
}

int32_t choose(std::string_view word, std::string_view value,
               std::initializer_list<std::pair<std::string_view, int32_t>> known) {
  for (const auto& [name, result] : known) {
    if (name == value) return result;
  }
  fail(Status::kInvalidArgument, "--versus: \"", word, "\" is not known");
}

void set(Side& side, std::string_view word) {
  SessionOptions& options = side.options;
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
  if (key == "model") {
    options.model = value;
  } else if (key == "threads") {
    options.threads = number(word, value);
  } else if (key == "step_tokens") {
    options.step_tokens = number(word, value);
  } else if (key == "cpu_level") {
    options.cpu_level = choose(word, value,
                               {{"best", DSV3_CPU_LEVEL_BEST},
                                {"scalar", DSV3_CPU_LEVEL_SCALAR},
                                {"avx2", DSV3_CPU_LEVEL_AVX2},
                                {"avx512", DSV3_CPU_LEVEL_AVX512}});
  } else if (key == "determinism") {
    options.determinism =
        choose(word, value, {{"strict", DSV3_DETERMINISM_STRICT}, {"fast", DSV3_DETERMINISM_FAST}});
  } else if (key == "weights") {
    options.weights = choose(word, value, {{"map", DSV3_WEIGHTS_MAP}, {"copy", DSV3_WEIGHTS_COPY}});
  } else if (word.find('/') != std::string_view::npos) {
    side.library = open_library(std::string(word));
  } else {
    fail(Status::kInvalidArgument, "--versus: \"", word,
         "\" is not known; wanted a path, cpu_level=, threads=, step_tokens=, determinism=, "
         "weights= or model=");
  }
}

void compare_tokens(const Session& a, const Session& b, VersusResult& result) {
  const auto from_a = a.drawn();
  const auto from_b = b.drawn();
  for (size_t lane = 0; lane < from_a.size(); ++lane) {
    size_t equal = 0;
    while (equal < from_a[lane].size() && from_a[lane][equal] == from_b[lane][equal]) ++equal;
    result.tokens_compared += from_a[lane].size();
    result.tokens_equal += equal;
  }
  result.same_tokens = result.tokens_equal == result.tokens_compared;
}

VersusResult run_case(const ModelFacts& facts, Session& a, Session& b, const ModelCase& asked,
                      uint32_t runs) {
  VersusResult result{.model = facts.name, .asked = asked};
  prepare_case(a, asked);
  prepare_case(b, asked);
  for (uint32_t run = 0; run < runs; ++run) {
    show_progress(str(facts.name, ": ", asked.name(), ": pair ", run + 1, " of ", runs));
    result.a_seconds.push_back(time_case(a, asked, nullptr));
    result.b_seconds.push_back(time_case(b, asked, nullptr));
  }
  compare_tokens(a, b, result);
  return result;
}

double tokens_per_second(const VersusResult& result, const std::vector<double>& seconds) {
  const ModelCase& asked = result.asked;
  return double{1} * asked.batch * (asked.is_prefill() ? asked.prompt : asked.tokens) /
         spread(seconds).median;
}

}  // namespace

Side other_side(const Side& base, std::string_view text) {
  Side side = base;
  side.name = text;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    set(side, text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return side;
}

Spread VersusResult::b_over_a() const {
  std::vector<double> ratios;
  for (size_t i = 0; i < a_seconds.size(); ++i) ratios.push_back(a_seconds[i] / b_seconds[i]);
  return spread(std::move(ratios));
}

VersusReport bench_versus(const Options& options) {
  VersusReport report;
  for (const std::string& folder : options.models) {
    const ModelFacts facts = read_model_facts(folder);
    for (const auto& group : case_groups(options, facts)) {
      const Side a{.name = "this build",
                   .library = linked_library(),
                   .options = session_options(options, facts, group)};
      const Side b = other_side(a, options.versus);
      report.a = str(a.name, " (", a.library.build_info(), ")");
      report.b = str(b.name, " (", b.library.build_info(), ")");
      show_progress(str(facts.name, ": load both, warm up"));
      Session session_a(a.library, a.options);
      Session session_b(b.library, b.options);
      warm_up(session_a, facts);
      warm_up(session_b, facts);
      for (const ModelCase& asked : group) {
        report.cases.push_back(run_case(facts, session_a, session_b, asked, options.runs));
      }
    }
  }
  show_progress("");
  return report;
}

std::string versus_table(const VersusReport& report) {
  std::string out = "A: " + report.a + "\nB: " + report.b + "\n";
  char line[256];
  std::snprintf(line, sizeof(line), "%-12s %-30s %9s %9s %28s  %s\n", "model", "case", "A tok/s",
                "B tok/s", "B over A (min .. max)", "tokens");
  out += line;
  for (const VersusResult& result : report.cases) {
    const Spread ratio = result.b_over_a();
    const std::string tokens =
        result.same_tokens
            ? str("all ", result.tokens_compared, " equal")
            : str(result.tokens_equal, " of ", result.tokens_compared, " before a difference");
    std::snprintf(line, sizeof(line), "%-12s %-30s %9.2f %9.2f %8.3f (%7.3f .. %7.3f)   %s\n",
                  result.model.c_str(), result.asked.name().c_str(),
                  tokens_per_second(result, result.a_seconds),
                  tokens_per_second(result, result.b_seconds), ratio.median, ratio.min, ratio.max,
                  tokens.c_str());
    out += line;
  }
  return out;
}

std::string versus_json(const VersusReport& report) {
  std::string out = "{\n  \"a\": " + json_string(report.a) +
                    ",\n  \"b\": " + json_string(report.b) + ",\n  \"cases\": [\n";
  char line[256];
  for (size_t i = 0; i < report.cases.size(); ++i) {
    const VersusResult& result = report.cases[i];
    const Spread ratio = result.b_over_a();
    std::snprintf(line, sizeof(line),
                  ", \"a_tokens_per_s\": %.3f, \"b_tokens_per_s\": %.3f, \"b_over_a\": %.4f, "
                  "\"b_over_a_min\": %.4f, \"b_over_a_max\": %.4f, \"same_tokens\": %s}",
                  tokens_per_second(result, result.a_seconds),
                  tokens_per_second(result, result.b_seconds), ratio.median, ratio.min, ratio.max,
                  result.same_tokens ? "true" : "false");
    out += "    {\"model\": " + json_string(result.model) +
           ", \"case\": " + json_string(result.asked.name()) + line +
           (i + 1 < report.cases.size() ? ",\n" : "\n");
  }
  return out + "  ]\n}\n";
}

}  // namespace dsv3::bench
