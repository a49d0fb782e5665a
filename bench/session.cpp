#include "session.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "bench_clock.h"

namespace dsv3::bench {

Session::Session(const Library& library, const SessionOptions& options)
    : library_(library), options_(options) {
  dsv3_device device{};
  device.struct_size = sizeof(device);
  device.kind = options.device == "cuda" ? DSV3_DEVICE_CUDA : DSV3_DEVICE_CPU;
  device.ordinal = options.ordinal;
  dsv3_threads threads{};
  threads.struct_size = sizeof(threads);
  threads.count = options.threads;
  dsv3_context_options made;
  library_.context_options_init(&made, sizeof(made));
  made.weights = options.weights;
  made.model_path = options.model.data();
  made.model_path_bytes = options.model.size();
  made.devices = &device;
  made.device_count = 1;
  made.cpu_level = options.cpu_level;
  made.activation_quant = options.activation_quant;
  made.sequences_max = options.sequences;
  made.step_tokens_max = options.step_tokens;
  made.cache_tokens = options.cache_tokens;
  made.cache_dtype = options.cache_dtype;
  made.determinism = options.determinism;
  made.threads = &threads;
  const double begin = now();
  try {
    want(library_.context_create(&made, &context_));
    want(library_.context_load(context_, 0, nullptr));
    load_seconds_ = now() - begin;
    info_.struct_size = sizeof(info_);
    want(library_.context_info(context_, &info_));
  } catch (...) {
    library_.context_destroy(context_);
    throw;
  }
}

Session::~Session() { library_.context_destroy(context_); }

void Session::want(dsv3_status status, uint64_t sequence) const {
  if (status == DSV3_OK) return;
  char message[1024] = "no context";
  if (context_ != nullptr) {
    library_.context_error(context_, sequence, message, sizeof(message), nullptr);
  }
  fail(static_cast<Status>(status), library_.status_name(status), ": ", message);
}

void Session::end_group() {
  for (const Lane& lane : lanes_) want(library_.sequence_destroy(context_, lane.id));
  lanes_.clear();
}

void Session::begin_group(uint32_t count) {
  end_group();
  lanes_.resize(count);
  for (Lane& lane : lanes_) want(library_.sequence_create(context_, nullptr, &lane.id));
}

int32_t Session::on_event(void* user_data, const dsv3_event* event) {
  auto* const lane = static_cast<Lane*>(user_data);
  if (event->kind == DSV3_EVENT_TOKEN) {
    ++lane->got;
    lane->tokens.push_back(event->token);
  } else if (event->kind == DSV3_EVENT_END) {
    const bool is_whole = event->finish == DSV3_FINISH_MAX_TOKENS;
    lane->status = is_whole || event->status != 0 ? event->status : int32_t{DSV3_LIMIT};
  }
  return 0;
}

void Session::start(uint64_t tokens) {
  dsv3_generate_options options;
  library_.generate_options_init(&options, sizeof(options));
  options.events = DSV3_EVENTS_TOKEN;
  options.max_tokens = tokens;
  options.temperature = 0.0f;
  options.ignore_eos = 1;
  options.callback = on_event;
  for (Lane& lane : lanes_) {
    lane.wanted = tokens;
    lane.got = 0;
    options.user_data = &lane;
    want(library_.sequence_generate(context_, lane.id, &options), lane.id);
  }
}

bool Session::all_got(uint64_t tokens) const {
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [tokens](const Lane& lane) { return lane.got >= tokens; });
}

void Session::step() {
  int32_t state = DSV3_STEP_IDLE;
  want(library_.step(context_, 0, &state));
  for (const Lane& lane : lanes_) {
    if (lane.status != DSV3_OK) want(lane.status, lane.id);
    if (state == DSV3_STEP_IDLE && lane.got < lane.wanted) {
      fail(Status::kInternal, "a generation stopped after ", lane.got, " of ", lane.wanted,
           " tokens");
    }
  }
}

double Session::prefill(uint32_t tokens) {
  // Ids near the end of a vocabulary are control tokens.
  const uint64_t ids = info_.vocab_size > 64 ? info_.vocab_size - 32 : info_.vocab_size;
  std::vector<int32_t> prompt(tokens);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    for (int32_t& token : prompt) {
      token = static_cast<int32_t>(random_bits(1 + i, lane.appended++) % ids);
    }
    want(library_.sequence_append_tokens(context_, lane.id, prompt.data(), prompt.size()), lane.id);
  }
  const double begin = now();
  start(1);
  while (!all_got(1)) step();
  const double seconds = now() - begin;
  step();  // whatever a device still has to do for the END
  return seconds;
}

double Session::decode(uint32_t tokens, std::vector<double>* step_seconds) {
  start(uint64_t{tokens} + 1);
  while (!all_got(1)) step();
  const double begin = now();
  double before = begin;
  while (!all_got(uint64_t{tokens} + 1)) {
    step();
    const double after = now();
    if (step_seconds != nullptr) step_seconds->push_back(after - before);
    before = after;
  }
  const double seconds = now() - begin;
  step();
  return seconds;
}

uint64_t Session::position() const {
  return lanes_.empty() ? 0 : lanes_[0].appended + lanes_[0].tokens.size();
}

std::vector<std::vector<int32_t>> Session::drawn() const {
  std::vector<std::vector<int32_t>> out;
  for (const Lane& lane : lanes_) out.push_back(lane.tokens);
  return out;
}

}  // namespace dsv3::bench
