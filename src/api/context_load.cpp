#include "api/context_load.h"

#include <algorithm>
#include <utility>

#include "base/platform.h"

namespace dsv3 {
namespace {

// What malloc gives, roughly: the tokenizer's tables and the tensors' names.
constexpr uint64_t kOverheadBytes = 8u << 20;

std::unique_ptr<FileSource> make_source(const LoadParts& parts) {
  const ContextOptions& options = parts.options;
  switch (options.source) {
    case ModelSource::kIo:
      return std::make_unique<IoSource>(parts.hooks.io_callbacks());
    case ModelSource::kMemory:
      return std::make_unique<MemorySource>(options.memory_files);
    case ModelSource::kFolder:
      break;
  }
  return std::make_unique<FolderSource>(options.model_path, options.follow_links);
}

std::unique_ptr<ModelLoader> make_loader(const LoadParts& parts, Machine& machine) {
  return std::make_unique<ModelLoader>(
      make_source(parts), parts.options.model,
      ModelLoader::Parts{.device = machine.device(), .ops = machine.ops(), .clock = parts.clock});
}

SamplingDefaults sampling_defaults(const GenerationDefaults& file) {
  SamplingDefaults out;
  if (file.do_sample.value_or(false))
    out.temperature = static_cast<float>(file.temperature.value_or(1.0));
  out.top_p = static_cast<float>(file.top_p.value_or(1.0));
  out.min_p = static_cast<float>(file.min_p.value_or(0.0));
  out.repetition_penalty = static_cast<float>(file.repetition_penalty.value_or(1.0));
  out.top_k = static_cast<int32_t>(std::min<uint32_t>(file.top_k.value_or(0), INT32_MAX));
  return out;
}

}  // namespace

LoadingModel::LoadingModel(const LoadParts& parts)
    : parts_(parts), running_(std::make_unique<RunningModel>()) {
  running_->machine =
      std::make_unique<Machine>(parts.options, parts.allocator, thread_pool_options(parts.hooks));
  loader_ = make_loader(parts, *running_->machine);
}

bool LoadingModel::step() {
  constexpr uint64_t kOnePieceUs = 1;
  if (!has_weights_) {
    if (!loader_->step(kOnePieceUs)) return false;
    running_->model = loader_->take();
    touch_.emplace(loader_->mapped_ranges(), platform_memory_bytes());
    has_weights_ = true;
    return false;
  }
  if (touch_weights()) return false;
  if (!has_text_) {
    read_text();
    has_text_ = true;
    return false;
  }
  start_engine();
  return true;
}

// True while there is something to touch.
bool LoadingModel::touch_weights() {
  ThreadPool* const pool = running_->machine->pool();
  if (pool == nullptr || is_touched_) return false;
  pool->enter();
  is_touched_ = touch_->step(*pool, parts_.clock);
  pool->leave();
  return true;
}

// Weights in place count when they have been touched.
LoadProgress LoadingModel::progress() const {
  LoadProgress out = loader_->progress();
  out.bytes_done += touch_.has_value() ? touch_->bytes_done() : 0;
  out.bytes_done -= std::min(out.bytes_done, out.bytes_mapped);
  return out;
}

// A tokenizer that we do not know exactly is no failure: the model opens in token mode.
void LoadingModel::read_text() {
  RunningModel& running = *running_;
  LoadedModel& model = *running.model;
  const bool is_tiktoken = model.tokenizer_json.empty();
  if (is_tiktoken && model.tiktoken_model.empty()) {
    running.no_text_reason =
        "tokenizer.json and tiktoken.model are missing: the model is open for tokens only";
    return;
  }
  TokenizerLimits limits;
  if (parts_.options.json_bytes_max != 0) {
    limits.file_bytes_max = std::min(limits.file_bytes_max, parts_.options.json_bytes_max);
  }
  try {
    running.tokenizer =
        is_tiktoken
            ? Tokenizer::from_tiktoken(model.tiktoken_model, model.tokenizer_config_json, limits)
            : Tokenizer::from_json(model.tokenizer_json, model.tokenizer_config_json, limits);
  } catch (const Error& error) {
    if (error.status() != Status::kUnsupported) throw;
    running.no_text_reason = error.message();
    parts_.log.warn("token mode: ", error.message());
    return;
  }
  const std::string& jinja = model.chat_template_jinja.empty() ? running.tokenizer->chat_template()
                                                               : model.chat_template_jinja;
  running.chat = detect_chat_template(jinja);
  // The tables are made; the texts are not needed any more.
  model.tokenizer_json = std::string();
  model.tiktoken_model = std::string();
  model.tokenizer_config_json = std::string();
  model.chat_template_jinja = std::string();
}

void LoadingModel::start_engine() {
  RunningModel& running = *running_;
  LoadedModel& model = *running.model;
  EngineOptions options;
  options.step_tokens_max = model.limits.rows_max;
  options.out_of_pages = parts_.options.out_of_pages;
  options.eos_tokens = model.config.eos_tokens;
  if (running.tokenizer != nullptr) {
    options.vocab_limit =
        std::min(static_cast<uint32_t>(running.tokenizer->vocab_size()), model.limits.vocab);
  }
  running.sampling = sampling_defaults(model.defaults);
  running.device_text = running.machine->is_cuda()
                            ? running.machine->device().description()
                            : str("cpu ", cpu_level_name(parts_.options.cpu_level));
  running.engine = std::make_unique<Engine>(EngineParts{.model = *model.transformer,
                                                        .tokenizer = running.tokenizer.get(),
                                                        .clock = parts_.clock,
                                                        .allocator = parts_.allocator,
                                                        .tool_format = tool_format(running.chat)},
                                            options);
  parts_.log.info("loaded ", model.checkpoint->description(), ": ", model.config.layers,
                  " layers, vocabulary ", model.config.vocab, ", ", model.plan.weights_mapped,
                  " bytes of weights mapped, ", model.plan.own(), " bytes taken, ",
                  running.machine->ops().description());
}

dsv3_plan plan_load(const LoadParts& parts) {
  // A pool that would ask somebody else: it knows its size and starts no thread.
  const ThreadPoolOptions wanted = thread_pool_options(parts.hooks);
  ThreadPoolOptions paper;
  paper.host.run = [](void*, uint32_t, void (*)(void*, uint32_t, uint32_t), void*) {};
  paper.host.workers_max = wanted.host.run != nullptr ? wanted.host.workers_max : wanted.threads;
  Machine machine(parts.options, parts.allocator, paper);
  const std::unique_ptr<ModelLoader> loader = make_loader(parts, machine);
  const MemoryPlan plan = loader->plan();
  return plan_to_abi(plan, loader->limits(), parts.options.ceiling_bytes, machine);
}

dsv3_plan plan_to_abi(const MemoryPlan& plan, const PassLimits& limits, uint64_t ceiling_bytes,
                      const Machine& machine) {
  // Tables of sequences are host memory: on a GPU they are no part of what its ceiling counts.
  const uint64_t tables = limits.slots * Engine::sequence_bytes(limits);
  const uint64_t sequences = machine.is_cuda() ? 0 : tables;
  dsv3_plan out{};
  out.struct_size = sizeof(out);
  out.weights_mapped_bytes = plan.weights_mapped;
  out.weights_copied_bytes = plan.weights_copied;
  out.cache_bytes = plan.cache;
  out.workspace_bytes = plan.activations + plan.scratch + sequences;
  out.overhead_bytes = kOverheadBytes + machine.overhead_bytes() + plan.host + (tables - sequences);
  out.total_bytes = plan.own() + sequences;
  out.ceiling_bytes = ceiling_bytes;
  out.cache_tokens = uint64_t{limits.page_count} * kPageTokens;
  out.fits = ceiling_bytes == 0 || out.total_bytes <= ceiling_bytes ? 1 : 0;
  return out;
}

ThreadPoolOptions thread_pool_options(HostHooks& hooks) {
  const dsv3_threads& threads = hooks.threads();
  ThreadPoolOptions out;
  out.threads =
      threads.count != 0 ? threads.count : std::min(platform_processor_count(), kThreadsMax);
  out.affinity_mask = threads.affinity_mask;
  out.host = hooks.parallel_for();
  return out;
}

}  // namespace dsv3
