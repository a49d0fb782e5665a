// From options to a running engine: the place that assembles the rooms.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "api/api_events.h"
#include "api/api_options.h"
#include "api/host_hooks.h"
#include "api/machine.h"
#include "api/weight_touch.h"
#include "base/thread_pool.h"
#include "engine/engine.h"
#include "model/loader.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace dsv3 {

// What loading needs of its context; all outlive what is made from it.
struct LoadParts {
  const ContextOptions& options;
  HostHooks& hooks;
  Allocator& allocator;
  Clock& clock;
  Log& log;
};

// A loaded model with its engine. Members in order of dependence.
struct RunningModel {
  std::unique_ptr<Machine> machine;
  std::unique_ptr<LoadedModel> model;
  std::unique_ptr<Tokenizer> tokenizer;  // null: token mode
  std::string no_text_reason;            // then
  ChatTemplate chat = ChatTemplate::kNone;
  SamplingDefaults sampling;
  std::string device_text;
  std::unique_ptr<Engine> engine;
};

// A load in slices.
class LoadingModel {
 public:
  explicit LoadingModel(const LoadParts& parts);

  // One piece; true when take() has the whole.
  bool step();
  LoadProgress progress() const;
  std::unique_ptr<RunningModel> take() { return std::move(running_); }

 private:
  bool touch_weights();
  void read_text();
  void start_engine();

  const LoadParts parts_;
  std::unique_ptr<RunningModel> running_;
  std::unique_ptr<ModelLoader> loader_;
  std::optional<WeightTouch> touch_;  // once the weights are bound
  bool has_weights_ = false;
  bool is_touched_ = false;
  bool has_text_ = false;
};

// What a load would take; opens the files, starts no thread.
dsv3_plan plan_load(const LoadParts& parts);
dsv3_plan plan_to_abi(const MemoryPlan& plan, const PassLimits& limits, uint64_t ceiling_bytes,
                      const Machine& machine);

// How many threads, and whose.
ThreadPoolOptions thread_pool_options(HostHooks& hooks);
}  // namespace dsv3
