// Goal: whatever a GPU or a source of files refuses, a context says so by one status, every
// generation ends once, nothing stays behind and contexts elsewhere go on. Method: lives of small
// contexts through dsv3.h with the nth allocation, kernel or read failing, on emulated GPUs.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "emulation/emulator.h"
#include "gpu/gpu_fixture.h"

namespace dsv3::gpu_test {
namespace {

const std::string kTiny = DSV3_GOLDEN_DIR "/groups_yarn";
const std::string kTinyF8 = DSV3_GOLDEN_DIR "/fp8_cut_blocks";

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kStride = 8;  // of the faults tried in a plain build
#else
constexpr uint32_t kStride = 1;
#endif

std::vector<int32_t> prompt_of(uint32_t length) {
  std::vector<int32_t> tokens;
  for (uint32_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>((i * 31 + 3) % 100));
  return tokens;
}

void expect_nothing_left() {
  EXPECT_EQ(emulator::live_bytes(0), 0u);
  EXPECT_EQ(emulator::live_allocations(), 0u);
  EXPECT_EQ(emulator::live_objects(), 0u);
}

std::vector<int32_t> generate(dsv3_context* context, uint64_t length) {
  Generated out;
  const dsv3_generate_options options = options_of(length, &out);
  const dsv3_sequence sequence = start(context, prompt_of(4));
  EXPECT_EQ(dsv3_generate(context, sequence, &options, nullptr), DSV3_OK) << message_of(context);
  EXPECT_EQ(out.ends, 1);
  EXPECT_EQ(dsv3_sequence_destroy(context, sequence), DSV3_OK);
  return ids_of(out);
}

dsv3_status load_in_slices(dsv3_context* context, uint64_t budget_us) {
  int32_t done = 0;
  dsv3_status status = DSV3_OK;
  while (status == DSV3_OK && done == 0) status = dsv3_context_load(context, budget_us, &done);
  return status;
}

class EmulatedAttack : public ::testing::Test {
 protected:
  EmulatedAttack() { emulator::reset(); }
  ~EmulatedAttack() override {
    emulator::reset();
    expect_nothing_left();
  }
};

TEST_F(EmulatedAttack, EveryAllocationOfALoadMayFail) {
  uint32_t failures = 0;
  for (uint32_t nth = 1;; ++nth) {
    const Context context = create(kTiny, {.step_tokens_max = 8});
    emulator::fail_allocation(nth);
    const dsv3_status status = load_in_slices(context.get(), nth % 2);
    if (status == DSV3_OK) break;
    ++failures;
    EXPECT_EQ(status, DSV3_OUT_OF_MEMORY) << message_of(context.get());
    EXPECT_NE(message_of(context.get()).find(" bytes asked for"), std::string::npos);
    EXPECT_EQ(stats_of(context.get()).memory_bytes, 0u);
    EXPECT_EQ(info_of(context.get()).state, DSV3_CONTEXT_CREATED);
    expect_nothing_left();
    if (nth % kStride != 0) continue;
    ASSERT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
    EXPECT_EQ(generate(context.get(), 2).size(), 2u);
  }
  emulator::fail_allocation(0);
  EXPECT_GE(failures, 11u);
}

// Two generations of push and one of pull, so driven that passes fly or do not.
struct Listener {
  int32_t ends = 0;
  int32_t finish = DSV3_FINISH_NONE;
  int32_t status = DSV3_OK;
  int32_t tokens = 0;
  int32_t freed = 0;
  dsv3_sequence sequence = 0;

  static int32_t hear(void* self, const dsv3_event* event) {
    auto& listener = *static_cast<Listener*>(self);
    EXPECT_EQ(listener.ends, 0) << "an event after END";
    if (event->kind == DSV3_EVENT_TOKEN) ++listener.tokens;
    if (event->kind == DSV3_EVENT_END) {
      ++listener.ends;
      listener.finish = event->finish;
      listener.status = event->status;
    }
    return 0;
  }
};

constexpr uint64_t kTalk = 3;

void begin_talk(dsv3_context* context, std::vector<Listener>& listeners) {
  for (size_t i = 0; i < listeners.size(); ++i) {
    dsv3_generate_options options = options_of(kTalk, nullptr);
    options.callback = i == 0 ? nullptr : Listener::hear;
    options.user_data = &listeners[i];
    options.free_user_data = [](void* self) { ++static_cast<Listener*>(self)->freed; };
    listeners[i].sequence = start(context, prompt_of(static_cast<uint32_t>(3 + 4 * i)));
    EXPECT_EQ(dsv3_sequence_generate(context, listeners[i].sequence, &options), DSV3_OK);
  }
}

// The first failure, or OK once all is quiet.
dsv3_status drive(dsv3_context* context, uint32_t nth) {
  dsv3_status status = DSV3_OK;
  int32_t state = DSV3_STEP_READY;
  for (uint32_t i = 0; status == DSV3_OK && state != DSV3_STEP_IDLE && i < 10'000; ++i) {
    if (nth % 4 == 0) {
      status = dsv3_run(context, 0, 0, &state);
    } else {
      status = dsv3_step(context, nth % 4 == 1 && i % 3 != 0 ? 1 : 0, &state);
    }
  }
  return status;
}

void pull(dsv3_context* context, Listener& listener) {
  dsv3_event event{};
  event.struct_size = sizeof(event);
  while (dsv3_next_event(context, listener.sequence, &event) == DSV3_OK &&
         event.kind != DSV3_EVENT_NONE) {
    Listener::hear(&listener, &event);
  }
}

void expect_faulted(dsv3_context* context, const std::vector<Listener>& listeners) {
  const std::string first = message_of(context);
  EXPECT_EQ(first.rfind("cuda 0 is lost, first cause: ", 0), 0u) << first;
  EXPECT_NE(first.find("told to fail"), std::string::npos) << first;
  EXPECT_EQ(info_of(context).state, DSV3_CONTEXT_FAULTED);
  EXPECT_EQ(stats_of(context).generations, 0u);
  uint32_t errors = 0;
  for (const Listener& listener : listeners) {
    EXPECT_EQ(listener.ends, 1);
    if (listener.finish != DSV3_FINISH_ERROR) {
      EXPECT_EQ(listener.tokens, static_cast<int32_t>(kTalk));
      continue;
    }
    ++errors;
    EXPECT_EQ(listener.status, DSV3_DEVICE_LOST);
    EXPECT_EQ(message_of(context, listener.sequence), first);
  }
  EXPECT_GT(errors, 0u);
  dsv3_sequence unused = 0;
  EXPECT_EQ(dsv3_sequence_create(context, nullptr, &unused), DSV3_FAULTED);
  EXPECT_NE(message_of(context).find(first), std::string::npos) << message_of(context);
  for (const uint64_t budget_us : {0, 1}) {
    EXPECT_EQ(dsv3_step(context, budget_us, nullptr), DSV3_FAULTED);
    EXPECT_NE(message_of(context).find(first), std::string::npos) << message_of(context);
  }
  float logit = 0.0f;
  EXPECT_EQ(dsv3_sequence_logits(context, listeners[0].sequence, &logit, 1), DSV3_FAULTED);
  EXPECT_EQ(dsv3_context_load(context, 0, nullptr), DSV3_FAULTED);
}

// True when the fault was met.
bool live_with_fault(uint32_t nth) {
  emulator::fail_launch(nth);
  std::vector<Listener> listeners(3);
  dsv3_status status = DSV3_OK;
  {
    const Context context = create(kTiny, {.step_tokens_max = 8, .cache_tokens = 256});
    status = load_in_slices(context.get(), nth % 2);
    if (status == DSV3_OK) {
      begin_talk(context.get(), listeners);
      status = drive(context.get(), nth);
      pull(context.get(), listeners[0]);
      if (status != DSV3_OK) expect_faulted(context.get(), listeners);
      for (const Listener& listener : listeners) EXPECT_EQ(listener.freed, 1);
    } else {
      EXPECT_EQ(stats_of(context.get()).memory_bytes, 0u);
      EXPECT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_DEVICE_LOST);
    }
    EXPECT_TRUE(status == DSV3_OK || status == DSV3_DEVICE_LOST) << message_of(context.get());
  }
  expect_nothing_left();
  return status != DSV3_OK;
}

TEST_F(EmulatedAttack, AnyKernelMayLoseTheDevice) {
  const Context cpu = open(kTiny, {.kind = DSV3_DEVICE_CPU});
  const std::vector<int32_t> wanted = generate(cpu.get(), 2);
  uint32_t faults = 0;
  for (uint32_t nth = 1; !HasFailure(); nth += 37 * kStride) {
    SCOPED_TRACE("kernel " + std::to_string(nth));
    if (!live_with_fault(nth)) break;
    emulator::reset();
    ++faults;
    EXPECT_EQ(generate(cpu.get(), 2), wanted);
  }
  EXPECT_GE(faults, 8 / kStride);
}

// A second GPU of the same process.
TEST_F(EmulatedAttack, TheOtherGpuGoesOn) {
  const uint64_t live = emulator::live_bytes(1);
  {
    const Context other = open(kTiny, {.ordinal = 1});
    const Context context = open(kTiny);
    const std::vector<int32_t> wanted = generate(other.get(), 3);
    std::vector<Listener> listeners(3);
    begin_talk(context.get(), listeners);
    emulator::fail_launch(20);
    EXPECT_EQ(drive(context.get(), 0), DSV3_DEVICE_LOST);
    pull(context.get(), listeners[0]);
    expect_faulted(context.get(), listeners);
    EXPECT_EQ(generate(other.get(), 3), wanted);
  }
  EXPECT_EQ(emulator::live_bytes(1), live);
}

// The files of a model behind dsv3_io, with one read that fails or cancels.
struct Files {
  std::map<std::string, std::string> all;
  int32_t reads = 0;
  int32_t fail_at = 0;
  int32_t cancel_at = 0;
  int32_t open_now = 0;
  dsv3_context* context = nullptr;

  static int32_t open(void* self, const char* name, void** out) {
    auto& files = *static_cast<Files*>(self);
    const auto found = files.all.find(name);
    if (found == files.all.end()) return DSV3_IO_ABSENT;
    ++files.open_now;
    *out = &found->second;
    return 0;
  }
  static int32_t size(void*, void* file, uint64_t* out) {
    *out = static_cast<std::string*>(file)->size();
    return 0;
  }
  static int32_t read(void* self, void* file, uint64_t offset, void* out, uint64_t bytes) {
    auto& files = *static_cast<Files*>(self);
    ++files.reads;
    if (files.reads == files.fail_at) return 7;
    if (files.reads == files.cancel_at) dsv3_cancel(files.context);
    std::memcpy(out, static_cast<std::string*>(file)->data() + offset, bytes);
    return 0;
  }
  static void close(void* self, void*) { --static_cast<Files*>(self)->open_now; }
};

Files read_model(const std::string& folder) {
  Files files;
  for (const char* const name :
       {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors"}) {
    std::ifstream file(folder + "/" + name, std::ios::binary);
    EXPECT_TRUE(file) << name;
    files.all[name] = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  return files;
}

Context create(Files& files) {
  dsv3_io io{};
  io.struct_size = sizeof(io);
  io.open = Files::open;
  io.size = Files::size;
  io.read = Files::read;
  io.close = Files::close;
  io.user_data = &files;
  dsv3_device device{};
  device.struct_size = sizeof(device);
  device.kind = DSV3_DEVICE_CUDA;
  dsv3_context_options options;
  EXPECT_EQ(dsv3_context_options_init(&options, sizeof(options)), DSV3_OK);
  options.io = &io;
  options.devices = &device;
  options.device_count = 1;
  options.cache_tokens = 64;
  options.step_tokens_max = 8;
  options.sequences_max = 2;
  EXPECT_EQ(dsv3_context_create(&options, &files.context), DSV3_OK);
  return Context(files.context);
}

TEST_F(EmulatedAttack, AnyReadOfALoadMayFailOrCancel) {
  const Files model = read_model(kTinyF8);
  Files whole = model;
  {
    const Context context = create(whole);
    ASSERT_EQ(dsv3_context_load(context.get(), 0, nullptr), DSV3_OK) << message_of(context.get());
  }
  ASSERT_GT(whole.reads, 20);
  for (int32_t at = 1; at <= whole.reads; ++at) {
    SCOPED_TRACE("read " + std::to_string(at));
    Files files = model;
    const bool fails = at % 2 == 0;
    (fails ? files.fail_at : files.cancel_at) = at;
    const Context context = create(files);
    EXPECT_EQ(load_in_slices(context.get(), at / 2 % 2), fails ? DSV3_IO : DSV3_CANCELLED)
        << message_of(context.get());
    EXPECT_EQ(files.open_now, 0);
    EXPECT_EQ(info_of(context.get()).state, DSV3_CONTEXT_CREATED);
    expect_nothing_left();
    if (at % 16 != 0) continue;
    ASSERT_EQ(load_in_slices(context.get(), 1), DSV3_OK) << message_of(context.get());
    EXPECT_EQ(generate(context.get(), 2).size(), 2u);
  }
}

// A load that is given up halfway takes all with it.
TEST_F(EmulatedAttack, ALoadMayBeAbandonedAnywhere) {
  for (int32_t pieces = 1; pieces < 200; pieces += 12) {
    Files files = read_model(kTinyF8);
    int32_t done = 0;
    {
      const Context context = create(files);
      for (int32_t i = 0; i < pieces && done == 0; ++i) {
        ASSERT_EQ(dsv3_context_load(context.get(), 1, &done), DSV3_OK);
      }
    }
    EXPECT_EQ(files.open_now, 0);
    expect_nothing_left();
    if (done != 0) return;
  }
}

}  // namespace
}  // namespace dsv3::gpu_test
