#include "case_run.h"

#include <algorithm>

#include "base/error.h"
#include "base/platform.h"
#include "progress.h"

namespace dsv3::bench {
namespace {

constexpr uint32_t kWarmUpTokens = 512;
constexpr uint64_t kPage = 64;

}  // namespace

uint32_t threads_of(const Options& options, const ModelCase& asked) {
  if (asked.threads != 0) return asked.threads;
  return options.threads != 0 ? options.threads : platform_processor_count();
}

CpuLevel level_of(int32_t cpu_level) {
  const CpuLevel best = cpu_level_best();
  switch (cpu_level) {
    case DSV3_CPU_LEVEL_SCALAR:
      return CpuLevel::kScalar;
    case DSV3_CPU_LEVEL_AVX2:
      return std::min(best, CpuLevel::kAvx2);
    default:
      return best;
  }
}

std::vector<std::vector<ModelCase>> case_groups(const Options& options, const ModelFacts& facts) {
  std::vector<std::vector<ModelCase>> groups;
  const std::vector<ModelCase> cases =
      options.cases.empty() ? default_cases(options.small) : options.cases;
  for (const ModelCase& asked : cases) {
    if (asked.positions(options.runs) > facts.config.positions_max) {
      show_progress(str(facts.name, ": ", asked.name(), " left out, the model has ",
                        facts.config.positions_max, " positions"));
      continue;
    }
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return threads_of(options, group[0]) == threads_of(options, asked) &&
             group[0].cache_f8 == asked.cache_f8;
    });
    if (same != groups.end()) {
      same->push_back(asked);
    } else {
      groups.push_back({asked});
    }
  }
  return groups;
}

SessionOptions session_options(const Options& options, const ModelFacts& facts,
                               std::span<const ModelCase> group) {
  SessionOptions made{.model = facts.folder,
                      .device = options.device,
                      .ordinal = options.ordinal,
                      .threads = threads_of(options, group[0]),
                      .cpu_level = options.cpu_level,
                      .cache_dtype = group[0].cache_f8 ? DSV3_DTYPE_F8_E4M3 : DSV3_DTYPE_AUTO,
                      .activation_quant = options.one_by_128 ? DSV3_ACTIVATION_QUANT_1X128
                                                             : DSV3_ACTIVATION_QUANT_NONE,
                      .determinism = options.determinism,
                      .weights = options.weights,
                      .step_tokens = options.step_tokens,
                      .sequences = 2,
                      .cache_tokens = 2 * (kWarmUpTokens + kPage)};
  for (const ModelCase& asked : group) {
    const uint64_t pages = asked.positions(options.runs) / kPage + 2;
    made.sequences = std::max(made.sequences, asked.batch);
    made.cache_tokens = std::max(made.cache_tokens, pages * kPage * asked.batch);
  }
  return made;
}

void warm_up(Session& session, const ModelFacts& facts) {
  session.begin_group(1);
  session.prefill(std::min(kWarmUpTokens, facts.config.positions_max / 4));
  session.decode(2);
}

void prepare_case(Session& session, const ModelCase& asked) {
  if (asked.is_prefill()) return;
  session.begin_group(asked.batch);
  session.prefill(std::max(asked.context, 1u));
  session.decode(std::min(asked.tokens, 4u));
}

double time_case(Session& session, const ModelCase& asked, std::vector<double>* steps) {
  if (!asked.is_prefill()) return session.decode(asked.tokens, steps);
  session.begin_group(asked.batch);
  if (asked.context > 0) session.prefill(asked.context);
  return session.prefill(asked.prompt);
}

}  // namespace dsv3::bench
