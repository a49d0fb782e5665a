#include "report.h"

#include <algorithm>

#include "base/error.h"

namespace dsv3::bench {
namespace {

// `amount` of a run, by the seconds of each.
Spread per_second(const std::vector<double>& seconds, double amount) {
  std::vector<double> rates;
  rates.reserve(seconds.size());
  for (const double each : seconds) rates.push_back(amount / each);
  return spread(std::move(rates));
}

std::string ceiling_line(const CeilingResult& c) {
  return print("ceilings, %u threads, %s: read %.1f GB/s, bf16 %.0f, f32 %.0f, int8 %.0f Gop/s (",
               c.threads, c.level.c_str(), c.best.read_bytes * 1e-9, c.best.bf16_ops * 1e-9,
               c.best.f32_ops * 1e-9, c.best.int8_ops * 1e-9) +
         c.how + ")\n";
}

// What a context adds to a step, in time and in multiples of its products at the bf16 ceiling.
std::string context_line(const CaseResult& with, const CaseResult& without) {
  const double added = spread(with.seconds).median / with.asked.tokens -
                       spread(without.seconds).median / without.asked.tokens;
  const double ops = (with.cost.attention_ops - without.cost.attention_ops) / with.asked.tokens;
  const double floor = ops / with.ceilings.bf16_ops;
  return print(
      "%s %s, %u threads: %u tokens of context add %.2f ms a step, %.2f x (%.2f GFLOP at the bf16 "
      "ceiling, %.2f ms)\n",
      with.model.c_str(), with.asked.name().c_str(), with.threads, with.asked.context, added * 1e3,
      added / floor, ops * 1e-9, floor * 1e3);
}

std::string context_lines(const ModelReport& report) {
  std::string out;
  for (const CaseResult& with : report.cases) {
    if (with.asked.is_prefill() || with.asked.context == 0 || with.ceilings.bf16_ops <= 0) continue;
    for (const CaseResult& without : report.cases) {
      if (without.asked.is_prefill() || without.asked.context != 0) continue;
      if (without.model != with.model || without.threads != with.threads ||
          without.level != with.level || without.asked.batch != with.asked.batch ||
          without.asked.cache_f8 != with.asked.cache_f8) {
        continue;
      }
      out += context_line(with, without);
      break;
    }
  }
  return out;
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(share * static_cast<double>(values.size())))];
}

// The names that results of GPUs are compared by.
std::string figures_json(const ModelReport& report) {
  std::vector<std::string> figures;
  const auto add = [&](const std::string& name, double seconds) {
    figures.push_back("    {\"name\": " + json_string(name) +
                      print(", \"us\": %.3f}", seconds * 1e6));
  };
  for (const LoadResult& load : report.loads) add("load", spread(load.seconds).median);
  for (const CaseResult& c : report.cases) {
    if (c.asked.context > 0 || c.asked.batch > 1) continue;
    if (c.asked.is_prefill()) {
      add(str("prefill of ", c.asked.prompt, " tokens and the first token"),
          spread(c.seconds).median);
    } else {
      add("decode one token, p50", percentile(c.steps, 0.5));
      add("decode one token, p99", percentile(c.steps, 0.99));
    }
  }
  std::string out;
  for (const std::string& figure : figures) out += (out.empty() ? "" : ",\n") + figure;
  return out;
}

std::string numbers_json(const std::vector<double>& values) {
  std::string out;
  for (const double value : values) out += (out.empty() ? "" : ", ") + print("%.9g", value);
  return "[" + out + "]";
}

std::string case_json(const CaseResult& c) {
  const Spread rate = c.tokens_per_second();
  const Spread ratio = c.ratio();
  return "    {\"model\": " + json_string(c.model) + ", \"dtype\": " + json_string(c.dtype) +
         ", \"case\": " + json_string(c.asked.name()) + ", \"level\": " + json_string(c.level) +
         print(", \"prompt\": %u, \"context\": %u, \"batch\": %u, \"threads\": %u, \"tokens\": %u",
               c.asked.prompt, c.asked.context, c.asked.batch, c.threads, c.asked.tokens) +
         print(", \"tokens_per_s\": %.3f, \"tokens_per_s_min\": %.3f, \"tokens_per_s_max\": %.3f",
               rate.median, rate.min, rate.max) +
         print(", \"gb_per_step\": %.5f, \"gop_per_token\": %.5f, \"gb_per_s\": %.2f",
               c.gb_per_step(), c.ops_per_token() * 1e-9, c.bytes_per_second().median * 1e-9) +
         print(
             ", \"gop_per_s\": %.2f, \"read_ceiling_gb_per_s\": %.2f, \"bf16_ceiling_gop_per_s\": "
             "%.1f",
             c.ops_per_second().median * 1e-9, c.ceilings.read_bytes * 1e-9,
             c.ceilings.bf16_ops * 1e-9) +
         print(", \"ratio\": %.4f, \"ratio_min\": %.4f, \"ratio_max\": %.4f", ratio.median,
               ratio.min, ratio.max) +
         ", \"seconds\": " + numbers_json(c.seconds) + "}";
}

}  // namespace

double CaseResult::tokens() const {
  return double{1} * asked.batch * (asked.is_prefill() ? asked.prompt : asked.tokens);
}
Spread CaseResult::tokens_per_second() const { return per_second(seconds, tokens()); }
double CaseResult::gb_per_step() const {
  return cost.bytes * 1e-9 / (asked.is_prefill() ? 1 : asked.tokens);
}
double CaseResult::ops_per_token() const { return cost.operations / tokens(); }
Spread CaseResult::bytes_per_second() const { return per_second(seconds, cost.bytes); }
Spread CaseResult::ops_per_second() const { return per_second(seconds, cost.operations); }

Spread CaseResult::ratio() const {
  const auto binding = [this](const Ceilings& c) {
    return asked.is_prefill() ? c.bf16_ops : c.read_bytes;
  };
  if (around.size() != seconds.size() + 1) return {};
  const double amount = asked.is_prefill() ? cost.operations : cost.bytes;
  std::vector<double> ratios;
  ratios.reserve(seconds.size());
  for (size_t i = 0; i < seconds.size(); ++i) {
    const double ceiling = std::max(binding(around[i]), binding(around[i + 1]));
    ratios.push_back(amount / seconds[i] / ceiling);
  }
  return spread(std::move(ratios));
}

std::string report_table(const ModelReport& report) {
  std::string out = report.build + "\n" + report.device + "\n";
  for (const CeilingResult& ceiling : report.ceilings) out += ceiling_line(ceiling);
  for (const LoadResult& load : report.loads) {
    const Spread seconds = spread(load.seconds);
    out += print("load %s, %s, %u threads: %.3f s (%.3f .. %.3f)\n", load.model.c_str(),
                 load.dtype.c_str(), load.threads, seconds.median, seconds.min, seconds.max);
  }
  out += print("%-12s %-9s %-42s %2s %9s %19s %8s %8s %7s %8s %15s  %s\n", "model", "dtype", "case",
               "th", "tok/s", "min .. max", "GB/step", "GF/tok", "GB/s", "GFLOP/s", "of ceiling",
               "(best)");
  for (const CaseResult& c : report.cases) {
    const Spread rate = c.tokens_per_second();
    const Spread ratio = c.ratio();
    out += print(
        "%-12s %-9s %-42s %2u %9.2f %8.2f .. %7.2f %8.3f %8.3f %7.1f %8.1f %8.1f %% %-4s  (%.1f "
        "%%)\n",
        c.model.c_str(), c.dtype.c_str(), c.asked.name().c_str(), c.threads, rate.median, rate.min,
        rate.max, c.gb_per_step(), c.ops_per_token() * 1e-9, c.bytes_per_second().median * 1e-9,
        c.ops_per_second().median * 1e-9, ratio.median * 100.0,
        c.asked.is_prefill() ? "bf16" : "read", ratio.max * 100.0);
  }
  out += context_lines(report);
  for (const OpProfile& profile : report.profiles) out += "\n" + profile_table(profile);
  return out;
}

std::string report_json(const ModelReport& report) {
  std::string out = "{\n  \"build\": " + json_string(report.build) +
                    ",\n  \"device\": " + json_string(report.device) + ",\n  \"ceilings\": [\n";
  for (size_t i = 0; i < report.ceilings.size(); ++i) {
    const CeilingResult& c = report.ceilings[i];
    out += print(
        "    {\"threads\": %u, \"read_gb_per_s\": %.2f, \"bf16_gop_per_s\": %.1f, "
        "\"f32_gop_per_s\": %.1f, \"int8_gop_per_s\": %.1f, \"level\": ",
        c.threads, c.best.read_bytes * 1e-9, c.best.bf16_ops * 1e-9, c.best.f32_ops * 1e-9,
        c.best.int8_ops * 1e-9);
    out += json_string(c.level) + ", \"how\": " + json_string(c.how) + "}";
    out += i + 1 < report.ceilings.size() ? ",\n" : "\n";
  }
  out += "  ],\n  \"loads\": [\n";
  for (size_t i = 0; i < report.loads.size(); ++i) {
    const LoadResult& load = report.loads[i];
    out += "    {\"model\": " + json_string(load.model) +
           ", \"dtype\": " + json_string(load.dtype) + print(", \"threads\": %u", load.threads) +
           ", \"seconds\": " + numbers_json(load.seconds) + "}";
    out += i + 1 < report.loads.size() ? ",\n" : "\n";
  }
  out += "  ],\n  \"cases\": [\n";
  for (size_t i = 0; i < report.cases.size(); ++i) {
    out += case_json(report.cases[i]) + (i + 1 < report.cases.size() ? ",\n" : "\n");
  }
  out += "  ],\n  \"profiles\": " + profile_json(report.profiles);
  return out + ",\n  \"figures\": [\n" + figures_json(report) + "\n  ]\n}\n";
}

std::string report_csv(const ModelReport& report) {
  std::string out =
      "model,dtype,level,prompt,context,batch,threads,tokens,tok_s,tok_s_min,tok_s_max,gb_per_step,"
      "gop_per_token,gb_per_s,gop_per_s,read_ceiling_gb_per_s,bf16_ceiling_gop_per_s,ratio\n";
  for (const CaseResult& c : report.cases) {
    const Spread rate = c.tokens_per_second();
    out += print("%s,%s,%s,%u,%u,%u,%u,%u,%.3f,%.3f,%.3f,%.5f,", c.model.c_str(), c.dtype.c_str(),
                 c.level.c_str(), c.asked.prompt, c.asked.context, c.asked.batch, c.threads,
                 c.asked.tokens, rate.median, rate.min, rate.max, c.gb_per_step());
    out += print("%.5f,%.2f,%.2f,%.2f,%.1f,%.4f\n", c.ops_per_token() * 1e-9,
                 c.bytes_per_second().median * 1e-9, c.ops_per_second().median * 1e-9,
                 c.ceilings.read_bytes * 1e-9, c.ceilings.bf16_ops * 1e-9, c.ratio().median);
  }
  return out;
}

}  // namespace dsv3::bench
