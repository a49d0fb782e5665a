// Times a model as an application sees it: load, prefill, decode, through dsv3.h alone.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "bench.h"
#include "dsv3.h"

namespace dsv3::bench {
namespace {

constexpr uint32_t kPromptTokens = 512;
constexpr uint32_t kDecodeTokens = 128;

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

class Context {
 public:
  explicit Context(const Options& options) {
    device_.struct_size = sizeof(device_);
    device_.kind = options.device == "cuda" ? DSV3_DEVICE_CUDA : DSV3_DEVICE_CPU;
    device_.ordinal = options.ordinal;
    dsv3_context_options made;
    dsv3_context_options_init(&made, sizeof(made));
    made.model_path = options.model.data();
    made.model_path_bytes = options.model.size();
    made.devices = &device_;
    made.device_count = 1;
    made.step_tokens_max = kPromptTokens;
    made.activation_quant =
        options.one_by_128 ? DSV3_ACTIVATION_QUANT_1X128 : DSV3_ACTIVATION_QUANT_NONE;
    want(dsv3_context_create(&made, &context_));
  }
  ~Context() { dsv3_context_destroy(context_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void want(dsv3_status status) const {
    if (status == DSV3_OK) return;
    char message[1024] = "no context";
    if (context_ != nullptr) {
      dsv3_context_error(context_, 0, message, sizeof(message), nullptr);
    }
    fail(static_cast<Status>(status), dsv3_status_name(status), ": ", message);
  }
  dsv3_context* get() const { return context_; }

 private:
  dsv3_device device_{};
  dsv3_context* context_ = nullptr;
};

// Seconds of the first token (which computes the prompt) and of each further one.
struct Run {
  std::vector<double> token_seconds;
  double begin = 0.0;
};

int32_t on_event(void* user_data, const dsv3_event* event) {
  auto* run = static_cast<Run*>(user_data);
  if (event->kind != DSV3_EVENT_TOKEN) return 0;
  const double time = now();
  run->token_seconds.push_back(time - run->begin);
  run->begin = time;
  return 0;
}

Run generate(const Context& context, uint32_t vocab) {
  dsv3_sequence sequence = 0;
  context.want(dsv3_sequence_create(context.get(), nullptr, &sequence));
  std::vector<int32_t> prompt(kPromptTokens);
  for (uint32_t i = 0; i < kPromptTokens; ++i) {
    prompt[i] = static_cast<int32_t>((i * 37 + 11) % (vocab - 16));
  }
  context.want(dsv3_sequence_append_tokens(context.get(), sequence, prompt.data(), prompt.size()));
  dsv3_generate_options options;
  dsv3_generate_options_init(&options, sizeof(options));
  Run run;
  options.events = DSV3_EVENTS_TOKEN;
  options.max_tokens = kDecodeTokens;
  options.ignore_eos = 1;
  options.callback = on_event;
  options.user_data = &run;
  run.begin = now();
  context.want(dsv3_generate(context.get(), sequence, &options, nullptr));
  context.want(dsv3_sequence_destroy(context.get(), sequence));
  return run;
}

}  // namespace

std::vector<Figure> bench_model(const Options& options) {
  std::vector<Figure> figures;
  const Context context(options);
  const double begin = now();
  context.want(dsv3_context_load(context.get(), 0, nullptr));
  figures.push_back({.name = "load", .seconds = now() - begin});
  dsv3_info info{};
  info.struct_size = sizeof(info);
  context.want(dsv3_context_info(context.get(), &info));
  generate(context, info.vocab_size);  // the first one warms up
  Run run = generate(context, info.vocab_size);
  if (run.token_seconds.size() < 2) fail(Status::kInternal, "bench: no tokens were generated");
  figures.push_back({.name = str("prefill of ", kPromptTokens, " tokens and the first token"),
                     .seconds = run.token_seconds.front()});
  std::vector<double> decode(run.token_seconds.begin() + 1, run.token_seconds.end());
  std::sort(decode.begin(), decode.end());
  figures.push_back({.name = "decode one token, p50", .seconds = decode[decode.size() / 2]});
  figures.push_back({.name = "decode one token, p99", .seconds = decode[decode.size() * 99 / 100]});
  return figures;
}

}  // namespace dsv3::bench
