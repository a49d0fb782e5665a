#include "op_profile.h"

#include <algorithm>
#include <map>
#include <memory>

#include "api/weight_touch.h"
#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "bench_clock.h"
#include "case_run.h"
#include "cpu/cpu_device.h"
#include "model/loader.h"
#include "progress.h"
#include "timed_ops.h"
#include "values.h"

namespace dsv3::bench {
namespace {

constexpr uint64_t kSweepBytes = 64u << 20;  // more than the caches between a core and memory

void name_weights(const ModelWeights& weights, TimedOps& ops) {
  ops.name_weight(weights.head, "head");
  for (const LayerWeights& layer : weights.layers) {
    ops.name_weight(layer.mla.q_a, "q_a");
    ops.name_weight(layer.mla.q_b, layer.mla.q_a.present() ? "q_b" : "q");
    ops.name_weight(layer.mla.kv_a, "kv_a");
    ops.name_weight(layer.mla.o, "o");
    ops.name_weight(layer.dense.gate, "gate");
    ops.name_weight(layer.dense.up, "up");
    ops.name_weight(layer.dense.down, "down");
    ops.name_weight(layer.moe.shared.gate, "shared gate");
    ops.name_weight(layer.moe.shared.up, "shared up");
    ops.name_weight(layer.moe.shared.down, "shared down");
  }
}

// A model whose passes are driven by hand.
class Driver {
 public:
  Driver(const Options& options, const ModelFacts& facts, const ModelCase& asked)
      : asked_(asked),
        step_tokens_(options.step_tokens),
        allocator_({}, 0),
        device_(allocator_),
        pool_(ThreadPoolOptions{.threads = threads_of(options, asked)}),
        inner_(make_cpu_ops(pool_, allocator_, level_of(options.cpu_level),
                            options.one_by_128 ? ActivationQuant::k1x128 : ActivationQuant::kNone)),
        timed_(*inner_) {
    positions_ = asked.positions(options.runs);
    pages_each_ = static_cast<uint32_t>(positions_ / kPageTokens + 1);
    dsv3::ModelOptions made;
    made.sizes.slots = asked.batch;
    made.sizes.rows_max = std::max(step_tokens_, asked.batch);
    made.sizes.positions_max = pages_each_ * kPageTokens;
    made.sizes.cache_tokens = uint64_t{pages_each_} * kPageTokens * asked.batch;
    made.sizes.cache_dtype = asked.cache_f8 ? std::optional<DType>(DType::kF8E4M3) : std::nullopt;
    ModelLoader loader(std::make_unique<FolderSource>(facts.folder, true), made,
                       {.device = device_, .ops = timed_, .clock = clock_});
    while (!loader.step(0)) {
    }
    model_ = loader.take();
    // As a context does, or the experts of the first passes would be measured with page faults.
    WeightTouch touch(loader.mapped_ranges(), UINT64_MAX);
    while (!touch.step(pool_, clock_)) {
    }
    name_weights(model_->weights, timed_);
    lanes_.resize(asked.batch);
    for (uint32_t i = 0; i < asked.batch; ++i) {
      for (uint32_t p = 0; p < pages_each_; ++p) {
        lanes_[i].pages.push_back(static_cast<int32_t>(i * pages_each_ + p));
      }
    }
    pool_.enter();
  }
  ~Driver() { pool_.leave(); }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  TimedOps& timed() { return timed_; }
  void restart() {
    for (Lane& lane : lanes_) lane.position = 0;
  }

  // `tokens` prompt tokens for each sequence, in passes of step_tokens at most. Seconds.
  double prefill(uint32_t tokens) {
    double seconds = 0.0;
    const uint64_t ids = model_->limits.vocab;
    for (uint32_t slot = 0; slot < lanes_.size(); ++slot) {
      for (uint32_t done = 0; done < tokens;) {
        const uint32_t count = std::min(step_tokens_, tokens - done);
        std::vector<int32_t> prompt(count);
        for (uint32_t i = 0; i < count; ++i) {
          prompt[i] = static_cast<int32_t>(random_bits(slot + 1, lanes_[slot].position + i) % ids);
        }
        done += count;
        PassSpan span = span_of(slot, AttentionForm::kUnabsorbed, prompt);
        std::vector<PassSample> samples;
        if (done == tokens) samples.push_back(sample_of(slot, count));
        seconds += pass({&span, 1}, samples);
        lanes_[slot].position += count;
      }
    }
    return seconds;
  }

  // One token for each sequence. Seconds.
  double decode() {
    std::vector<PassSpan> spans;
    std::vector<PassSample> samples;
    for (uint32_t slot = 0; slot < lanes_.size(); ++slot) {
      spans.push_back(span_of(slot, AttentionForm::kAbsorbed, {&lanes_[slot].next, 1}));
      samples.push_back(sample_of(slot, 1));
    }
    const double seconds = pass(spans, samples);
    for (Lane& lane : lanes_) ++lane.position;
    return seconds;
  }

 private:
  struct Lane {
    uint32_t position = 0;
    int32_t next = 0;
    std::vector<int32_t> pages;
  };

  PassSpan span_of(uint32_t slot, AttentionForm form, std::span<const int32_t> tokens) const {
    return {.slot = slot,
            .form = form,
            .position_begin = lanes_[slot].position,
            .tokens = tokens,
            .pages = lanes_[slot].pages};
  }
  PassSample sample_of(uint32_t slot, uint32_t rows) const {
    return {.slot = slot, .row = {.position = lanes_[slot].position + rows}};
  }

  double pass(std::span<const PassSpan> spans, std::span<const PassSample> samples) {
    Transformer& transformer = *model_->transformer;
    const double begin = now();
    transformer.begin({.spans = spans, .samples = samples});
    for (uint32_t i = 0; i < transformer.segment_count(); ++i) transformer.run_segment(i);
    const std::span<const SampleResult> results = transformer.wait_results();
    const double seconds = now() - begin;
    for (size_t i = 0; i < results.size(); ++i) {
      lanes_[samples[i].slot].next = std::max(results[i].token, 0);
    }
    return seconds;
  }

  const ModelCase asked_;
  const uint32_t step_tokens_;
  uint64_t positions_ = 0;
  uint32_t pages_each_ = 0;
  Allocator allocator_;
  SteadyClock clock_;
  CpuDevice device_;
  ThreadPool pool_;
  std::unique_ptr<Ops> inner_;
  TimedOps timed_;
  std::unique_ptr<LoadedModel> model_;
  std::vector<Lane> lanes_;
};

// Sums by name; the order is that of the first calls.
class Sums {
 public:
  void add(const std::vector<OpCall>& calls) {
    std::map<std::string, double> seconds;
    for (const OpCall& call : calls) seconds[call.name] += call.seconds;
    for (const auto& [name, sum] : seconds) times_[name].push_back(sum);
  }

  std::vector<OpTime> finish(const std::vector<OpCall>& last) const {
    std::vector<OpTime> ops;
    for (const OpCall& call : last) {
      auto op = std::find_if(ops.begin(), ops.end(),
                             [&](const OpTime& known) { return known.name == call.name; });
      if (op == ops.end()) {
        ops.push_back({.name = call.name, .seconds = spread(times_.at(call.name)).median});
        op = ops.end() - 1;
      }
      ++op->calls;
      op->cost.bytes += call.cost.bytes;
      op->cost.operations += call.cost.operations;
    }
    return ops;
  }

 private:
  std::map<std::string, std::vector<double>> times_;  // by name, of each pass
};

// Every call once more, the caches swept before each; the median of three sums.
void time_alone(const std::vector<OpCall>& calls, CeilingMeter& meter, std::vector<OpTime>& ops) {
  std::map<std::string, std::vector<double>> sums;
  for (int repeat = 0; repeat < 3; ++repeat) {
    std::map<std::string, double> sum;
    for (const OpCall& call : calls) {
      meter.sweep(kSweepBytes);
      const double begin = now();
      call.again();
      sum[call.name] += now() - begin;
    }
    for (const auto& [name, seconds] : sum) sums[name].push_back(seconds);
  }
  for (OpTime& op : ops) op.alone_seconds = spread(sums.at(op.name)).median;
}

}  // namespace

OpProfile profile_ops(const Options& options, const ModelFacts& facts, const ModelCase& asked,
                      CeilingMeter& meter) {
  show_progress(str(facts.name, ": ", asked.name(), ": ops"));
  Driver driver(options, facts, asked);
  OpProfile profile{.model = facts.name,
                    .dtype = facts.dtype(),
                    .asked = asked,
                    .threads = threads_of(options, asked)};
  driver.prefill(std::max(asked.is_prefill() ? asked.prompt : asked.context, 1u));
  const uint32_t passes = asked.is_prefill() ? options.runs : options.runs * 4;
  std::vector<double> seconds;
  std::vector<OpCall> last;
  Sums sums;
  for (uint32_t i = 0; i < passes; ++i) {
    profile.ceilings.raise({.read_bytes = meter.read(), .bf16_ops = meter.bf16()});
    if (asked.is_prefill()) {
      driver.restart();
      if (asked.context > 0) driver.prefill(asked.context);
    } else {
      driver.decode();  // the caches are now as after a step, not as after the ceilings
    }
    driver.timed().set_recording(true);
    seconds.push_back(asked.is_prefill() ? driver.prefill(asked.prompt) : driver.decode());
    driver.timed().set_recording(false);
    last = driver.timed().take();
    sums.add(last);
  }
  profile.pass_seconds = spread(seconds).median;
  profile.ops = sums.finish(last);
  time_alone(last, meter, profile.ops);
  return profile;
}

}  // namespace dsv3::bench
