// Times models as an application sees them: load, prefill, decode, through dsv3.h alone, with the
// ceilings measured between the runs.
#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "bench.h"
#include "case_run.h"
#include "ceilings.h"
#include "model_facts.h"
#include "op_profile.h"
#include "progress.h"
#include "session.h"

namespace dsv3::bench {
namespace {

class ModelBench {
 public:
  explicit ModelBench(const Options& options)
      : options_(options), level_(level_of(options.cpu_level)) {}

  ModelReport run() {
    report_.build = dsv3_build_info();
    report_.device = options_.device;
    if (has_ceilings()) {
      buffer_ = std::make_shared<ReadBuffer>(options_.small ? uint64_t{16} << 20
                                                            : CeilingOptions().read_bytes);
      const std::vector<ModelCase>& asked =
          options_.cases.empty() ? default_cases(options_.small) : options_.cases;
      for (const ModelCase& each : asked) meter(threads_of(options_, each));
    }
    for (const std::string& folder : options_.models) {
      const ModelFacts facts = read_model_facts(folder);
      for (const auto& group : case_groups(options_, facts)) run_group(facts, group);
    }
    for (CeilingResult& ceiling : report_.ceilings) {
      ceiling.best = best_.at(ceiling.threads);
      ceiling.how = meters_.at(ceiling.threads)->how();
    }
    show_progress("");
    return std::move(report_);
  }

 private:
  bool has_ceilings() const { return options_.device == "cpu"; }

  // Makes and measures it when it is asked for first.
  CeilingMeter& meter(uint32_t threads) {
    auto& place = meters_[threads];
    if (place == nullptr) {
      show_progress(str("ceilings with ", threads, " threads"));
      place = std::make_unique<CeilingMeter>(
          CeilingOptions{.threads = threads,
                         .level = level_,
                         .tile_seconds = options_.small ? 1e-4 : CeilingOptions().tile_seconds},
          buffer_);
      best_[threads] = place->measure(options_.small ? 1 : 3);
      report_.ceilings.push_back({.threads = threads, .level = cpu_level_name(level_)});
    }
    return *place;
  }

  void measure_ceilings(CaseResult& result) {
    if (!has_ceilings()) return;
    CeilingMeter& here = meter(result.threads);
    result.around.push_back({.read_bytes = here.read(), .bf16_ops = here.bf16()});
    result.ceilings.raise(result.around.back());
    best_[result.threads].raise(result.ceilings);
  }

  void run_group(const ModelFacts& facts, const std::vector<ModelCase>& group) {
    const SessionOptions made = session_options(options_, facts, group);
    LoadResult load{.model = facts.name, .dtype = facts.dtype(), .threads = made.threads};
    std::unique_ptr<Session> session;
    for (uint32_t run = 0; run < options_.runs; ++run) {
      show_progress(str(facts.name, ": load ", run + 1, " of ", options_.runs));
      session.reset();
      session = std::make_unique<Session>(linked_library(), made);
      load.seconds.push_back(session->load_seconds());
    }
    report_.loads.push_back(std::move(load));
    report_.device = session->info().device;
    show_progress(str(facts.name, ": warm up"));
    warm_up(*session, facts);
    for (const ModelCase& asked : group) report_.cases.push_back(run_case(facts, *session, asked));
    session.reset();
    if (!has_ceilings() || (!options_.ops && options_.plot.empty())) return;
    for (const ModelCase& asked : group) {
      report_.profiles.push_back(
          profile_ops(options_, facts, asked, meter(threads_of(options_, asked))));
    }
  }

  CaseResult run_case(const ModelFacts& facts, Session& session, const ModelCase& asked) {
    CaseResult result{.model = facts.name,
                      .dtype = facts.dtype(),
                      .asked = asked,
                      .threads = threads_of(options_, asked),
                      .level = has_ceilings() ? cpu_level_name(level_) : options_.device};
    const StoredBytes stored = facts.stored(session.info().cache_dtype);
    show_progress(str(facts.name, ": ", asked.name(), ": context"));
    prepare_case(session, asked);
    for (uint32_t run = 0; run < options_.runs; ++run) {
      show_progress(str(facts.name, ": ", asked.name(), ", ", result.threads, " threads: run ",
                        run + 1, " of ", options_.runs));
      measure_ceilings(result);
      if (asked.is_prefill()) {
        result.cost = prefill_cost(facts.config, stored, asked.batch, asked.prompt, asked.context);
      } else {
        add_decode_cost(facts.config, stored, session.position(), result);
      }
      result.seconds.push_back(time_case(session, asked, &result.steps));
    }
    measure_ceilings(result);
    return result;
  }

  // Every run has a little more context than the one before: the cost is the mean of them.
  void add_decode_cost(const ModelConfig& config, const StoredBytes& stored, uint64_t position,
                       CaseResult& result) {
    const ModelCase& asked = result.asked;
    const double context = static_cast<double>(position) + 1.0 + asked.tokens / 2.0;
    const Cost step = decode_cost(config, stored, asked.batch, context);
    const double share = double{1} * asked.tokens / options_.runs;
    result.cost.bytes += step.bytes * share;
    result.cost.operations += step.operations * share;
    result.cost.attention_ops += step.attention_ops * share;
    result.cost.attention_bytes += step.attention_bytes * share;
  }

  const Options& options_;
  const CpuLevel level_;
  std::shared_ptr<const ReadBuffer> buffer_;
  std::map<uint32_t, std::unique_ptr<CeilingMeter>> meters_;  // by threads
  std::map<uint32_t, Ceilings> best_;
  ModelReport report_;
};

}  // namespace

ModelReport bench_model(const Options& options) { return ModelBench(options).run(); }

}  // namespace dsv3::bench
