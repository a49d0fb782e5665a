// dsv3_context_*: from create to destroy.
#include <algorithm>
#include <cstring>
#include <new>

#include "api/api_guard.h"
#include "api/api_structs.h"
#include "api/context.h"
#include "base/fp_env.h"
#include "text/utf8.h"

using dsv3::Call;
using dsv3::CallClass;
using dsv3::CallNeeds;
using dsv3::fail;
using dsv3::Status;

namespace dsv3 {
namespace {

// What makes a context of the options. Throws what is wrong with them, with everything taken over.
void accept_options(dsv3_context& context, const dsv3_context_options& given) {
  const auto options = read_struct(&given, "dsv3_context_options");
  context.hooks.take(options);
  parse_context_options(options, &context.options);
  // A GPU's ceiling is about the GPU's memory.
  const bool is_cuda = context.options.device == DSV3_DEVICE_CUDA;
  context.allocator.emplace(context.hooks.allocator_hook(),
                            is_cuda ? 0 : context.options.ceiling_bytes);
  context.log.emplace(context.hooks.log_sink());
}

LoadParts load_parts(dsv3_context& context) {
  return {.options = context.options,
          .hooks = context.hooks,
          .allocator = *context.allocator,
          .clock = context.clock,
          .log = *context.log};
}

// The load is over without a model.
void drop_load(dsv3_context& context) noexcept {
  context.loading.reset();
  context.load_cancel.end();
  context.load_bytes_done = 0;
  context.load_bytes_total = 0;
  context.state = DSV3_CONTEXT_CREATED;
}

void report(dsv3_context& context) {
  const LoadProgress progress = context.loading->progress();
  const uint64_t before = context.load_bytes_done.exchange(progress.bytes_done);
  context.load_bytes_total = progress.bytes_total;
  const uint64_t grain = progress.bytes_total / 128;
  const bool is_news =
      progress.bytes_done / (grain + 1) != before / (grain + 1) ||
      (progress.bytes_done == progress.bytes_total && before != progress.bytes_done);
  if (is_news && context.hooks.report_progress(progress.bytes_done, progress.bytes_total) != 0) {
    fail(Status::kCancelled, "the progress callback cancelled the load after ", progress.bytes_done,
         " of ", progress.bytes_total, " bytes");
  }
}

void publish(dsv3_context& context) {
  context.model = context.loading->take();
  context.loading.reset();
  context.thread_count = context.model->machine->workers();
  context.engine.store(context.model->engine.get(), std::memory_order_release);
  context.state = DSV3_CONTEXT_READY;  // last: who reads it finds the engine
}

// Pieces of loading until the budget is spent; true when the model is there.
bool load_pieces(dsv3_context& context, uint64_t budget_us) {
  const uint64_t begin_us = context.clock.now_us();
  bool is_complete = false;
  do {
    if (context.load_cancel.is_requested()) fail(Status::kCancelled, "the load was cancelled");
    is_complete = context.loading->step();
    report(context);
  } while (!is_complete && (budget_us == 0 || context.clock.now_us() - begin_us < budget_us));
  if (!is_complete) return false;
  if (context.load_cancel.end()) fail(Status::kCancelled, "the load was cancelled");
  publish(context);
  return true;
}

bool load(dsv3_context& context, uint64_t budget_us) {
  if (context.engine.load() != nullptr) return true;
  try {
    if (context.loading == nullptr) {
      context.load_cancel.begin();
      context.state = DSV3_CONTEXT_LOADING;
      context.loading = std::make_unique<LoadingModel>(load_parts(context));
    }
    return load_pieces(context, budget_us);
  } catch (...) {
    drop_load(context);
    throw;
  }
}

// As much of `message` as fits, cut at a character, with a terminating zero.
void copy_text(const std::string& message, char* buffer, uint64_t capacity) {
  if (buffer == nullptr || capacity == 0) return;
  const size_t bytes = cut_at_character(message, capacity - 1);
  std::memcpy(buffer, message.data(), bytes);
  buffer[bytes] = '\0';
}

int32_t dtype_to_abi(DType dtype) {
  if (dtype == DType::kF8E4M3) return DSV3_DTYPE_F8_E4M3;
  return dtype == DType::kF32 ? DSV3_DTYPE_F32 : DSV3_DTYPE_BF16;
}

void describe_model(const dsv3_context& context, dsv3_info* info) {
  const RunningModel& running = *context.model;
  const ModelConfig& config = running.model->config;
  const PassLimits& limits = running.model->limits;
  const bool has_chat = running.tokenizer != nullptr && running.chat != ChatTemplate::kNone &&
                        running.chat != ChatTemplate::kUnknown;
  info->family = config.family == ModelFamily::kKimiK2 ? "kimi_k2" : "deepseek_v3";
  info->device = running.device_text.c_str();
  info->chat = has_chat ? chat_template_name(running.chat).data() : nullptr;
  info->has_text = running.tokenizer != nullptr ? 1 : 0;
  info->bos_token =
      running.tokenizer != nullptr ? running.tokenizer->bos_id() : config.bos_token.value_or(-1);
  info->vocab_size = config.vocab;
  info->hidden_size = config.hidden;
  info->layers = config.layers;
  info->mtp_layers = config.mtp_layers;
  info->experts = config.router.experts;
  info->experts_per_token = config.router.experts_per_token;
  info->context_tokens = limits.positions_max;
  info->sequences_max = limits.slots;
  info->step_tokens_max = limits.rows_max;
  info->threads = context.thread_count;
  info->cache_tokens = uint64_t{limits.page_count} * kPageTokens;
  info->cache_dtype = dtype_to_abi(running.model->cache_dtype);
  info->temperature = running.sampling.temperature;
  info->top_p = running.sampling.top_p;
  info->min_p = running.sampling.min_p;
  info->repetition_penalty = running.sampling.repetition_penalty;
  info->top_k = running.sampling.top_k;
}

dsv3_stats collect_stats(dsv3_context& context, Engine* engine) {
  dsv3_stats out{};
  out.struct_size = sizeof(out);
  out.load_bytes_done = context.load_bytes_done;
  out.load_bytes_total = context.load_bytes_total;
  if (engine != nullptr) {
    out.memory_bytes = context.model->machine->memory().bytes_held();
    out.memory_bytes_peak = context.model->machine->memory().bytes_peak();
  } else if (context.allocator.has_value()) {
    out.memory_bytes = context.allocator->bytes_held();
    out.memory_bytes_peak = context.allocator->bytes_peak();
  }
  if (engine == nullptr) return out;
  const EngineStats stats = engine->stats();
  out.sequences = stats.sequences;
  out.passes = stats.passes;
  out.tokens_prefilled = stats.tokens_prefilled;
  out.tokens_generated = stats.tokens_generated;
  out.tokens_recomputed = stats.tokens_recomputed;
  out.preemptions = stats.preemptions;
  out.segment_us_max = stats.segment_us_max;
  out.pass_us_last = stats.pass_us_last;
  out.busy_us = stats.busy_us;
  out.generations = stats.generations;
  out.pages_free = stats.pages_free;
  out.pages_total = stats.pages_total;
  return out;
}

// A call that cannot take the options over gives their user_data back.
void give_back_hooks(const dsv3_context_options& given) noexcept {
  try {
    HostHooks hooks;
    hooks.take(read_struct(&given, "dsv3_context_options"));
  } catch (...) {
    // What could not be read is not ours; the rest has gone back.
  }
}

void give_back_threads(const dsv3_threads& given) noexcept {
  try {
    const auto threads = read_struct(&given, "dsv3_threads");
    if (threads.free_user_data != nullptr) threads.free_user_data(threads.user_data);
  } catch (...) {
    // As above.
  }
}

// New threads in place of the old; the old ones' user_data goes back when they are gone.
void set_threads(dsv3_context& context, const dsv3_threads* given) {
  dsv3_threads threads{};
  if (given != nullptr) {
    threads = read_struct(given, "dsv3_threads");
  }
  HostHooks& hooks = context.hooks;
  hooks.replace_threads(threads);
  try {
    if (given != nullptr) check_threads(threads);
    context.model->machine->rebuild_threads(thread_pool_options(hooks));
  } catch (...) {
    hooks.restore_old_threads();
    hooks.release_old_threads();
    throw;
  }
  hooks.release_old_threads();
  context.thread_count = context.model->machine->workers();
}

}  // namespace

void ErrorSlot::set(std::string_view message) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  bytes_ = std::min(message.size(), kBytesMax);
  std::memcpy(text_, message.data(), bytes_);
}

std::string ErrorSlot::get() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::string(text_, bytes_);
}

}  // namespace dsv3

// The engine gives its targets back before their hooks do; hooks goes last of all.
dsv3_context::~dsv3_context() {
  const uint64_t host_fp = dsv3::fp_env_read();
  {
    const dsv3::FpEnvScope fp_env;
    const dsv3::HostGpuScope host_gpu(options.device == DSV3_DEVICE_CUDA);
    hooks.set_host_fp(host_fp);
    loading.reset();
    model.reset();
  }
  released_targets.drain();
  if (!log.has_value()) return;
  try {
    log->flush();
  } catch (...) {
    // No memory for the last lines: they are lost, the context goes anyway.
  }
}

dsv3_status dsv3_context_options_init(dsv3_context_options* out_options, uint32_t struct_size) {
  if (out_options == nullptr || struct_size < dsv3::kStructBytesMin<dsv3_context_options> ||
      struct_size > dsv3::kStructBytesMax) {
    return DSV3_INVALID_ARGUMENT;
  }
  std::memset(out_options, 0, struct_size);
  out_options->struct_size = struct_size;
  return DSV3_OK;
}

dsv3_status dsv3_context_create(const dsv3_context_options* options, dsv3_context** out_context) {
  if (out_context != nullptr) *out_context = nullptr;
  if (options == nullptr) return DSV3_INVALID_ARGUMENT;
  if (out_context == nullptr) {
    dsv3::give_back_hooks(*options);
    return DSV3_INVALID_ARGUMENT;
  }
  auto* const context = new (std::nothrow) dsv3_context;
  if (context == nullptr) {
    dsv3::give_back_hooks(*options);
    return DSV3_OUT_OF_MEMORY;
  }
  try {
    dsv3::accept_options(*context, *options);
  } catch (...) {
    char message[1024];
    context->refused = dsv3::status_of_current_exception(message, sizeof(message));
    context->error.set(message);
    context->first_cause.set(message);
  }
  if (context->refused == Status::kOutOfMemory) {
    delete context;
    return DSV3_OUT_OF_MEMORY;
  }
  *out_context = context;
  return static_cast<dsv3_status>(context->refused);
}

dsv3_status dsv3_context_destroy(dsv3_context* context) {
  if (context == nullptr) return DSV3_OK;
  if (context->magic.load() == dsv3_context::kMagicEnding) return DSV3_BUSY;
  if (!dsv3::is_context(context)) return DSV3_INVALID_ARGUMENT;
  if (context->calls_inside.load() != 0) {
    context->error.set("dsv3_context_destroy: a call is inside this context");
    return DSV3_BUSY;
  }
  context->magic.store(dsv3_context::kMagicEnding);  // its last callbacks find no context
  delete context;
  return DSV3_OK;
}

dsv3_status dsv3_context_plan(dsv3_context* context, dsv3_plan* out_plan) {
  const Call call{.call_class = CallClass::kStep, .needs = CallNeeds::kUsable};
  return dsv3::run_call(context, call, [&] {
    dsv3::want_pointer(out_plan, "out_plan");
    dsv3::check_struct_size<dsv3_plan>(out_plan->struct_size, "dsv3_plan");
    if (context->model == nullptr) {
      dsv3::write_struct(dsv3::plan_load(dsv3::load_parts(*context)), out_plan);
      return;
    }
    const dsv3::LoadedModel& model = *context->model->model;
    dsv3::write_struct(dsv3::plan_to_abi(model.plan, model.limits, context->options.ceiling_bytes,
                                         *context->model->machine),
                       out_plan);
  });
}

dsv3_status dsv3_context_load(dsv3_context* context, uint64_t budget_us, int32_t* out_done) {
  const Call call{.call_class = CallClass::kStep, .needs = CallNeeds::kUsable};
  return dsv3::run_call(context, call, [&] {
    const bool is_done = dsv3::load(*context, budget_us);
    if (out_done != nullptr) *out_done = is_done ? 1 : 0;
  });
}

dsv3_status dsv3_context_set_threads(dsv3_context* context, const dsv3_threads* threads) {
  const Call call{.call_class = CallClass::kStep};
  bool is_inside = false;
  const dsv3_status status = dsv3::run_call(context, call, [&] {
    is_inside = true;
    dsv3::set_threads(*context, threads);
  });
  if (!is_inside && threads != nullptr) dsv3::give_back_threads(*threads);
  return status;
}

dsv3_status dsv3_context_error(dsv3_context* context, uint64_t sequence, char* buffer,
                               uint64_t capacity, uint64_t* out_bytes) {
  const Call call{.needs = CallNeeds::kNothing, .keeps_message = true};
  return dsv3::run_call(context, call, [&] {
    if (capacity != 0) dsv3::want_pointer(buffer, "buffer");
    dsv3::Engine* const engine = context->engine.load(std::memory_order_acquire);
    if (sequence != 0 && engine == nullptr) fail(Status::kInvalidArgument, "no such sequence");
    const std::string message =
        sequence == 0 ? context->error.get() : engine->sequence_error(sequence);
    dsv3::copy_text(message, buffer, capacity);
    if (out_bytes != nullptr) *out_bytes = message.size();
  });
}

dsv3_status dsv3_context_info(dsv3_context* context, dsv3_info* out_info) {
  const Call call{.needs = CallNeeds::kNothing};
  return dsv3::run_call(context, call, [&] {
    dsv3::want_pointer(out_info, "out_info");
    dsv3::check_struct_size<dsv3_info>(out_info->struct_size, "dsv3_info");
    dsv3_info info{};
    info.state = context->state;
    if (context->engine.load(std::memory_order_acquire) != nullptr) {
      dsv3::describe_model(*context, &info);
    }
    dsv3::write_struct(info, out_info);
  });
}

dsv3_status dsv3_context_stats(dsv3_context* context, dsv3_stats* out_stats) {
  const Call call{.needs = CallNeeds::kNothing};
  return dsv3::run_call(context, call, [&] {
    dsv3::want_pointer(out_stats, "out_stats");
    dsv3::check_struct_size<dsv3_stats>(out_stats->struct_size, "dsv3_stats");
    dsv3::Engine* const engine = context->engine.load(std::memory_order_acquire);
    dsv3::write_struct(dsv3::collect_stats(*context, engine), out_stats);
  });
}
