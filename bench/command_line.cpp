#include "command_line.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "dsv3.h"
#include "values.h"

namespace dsv3::bench {
namespace {

constexpr const char* kUsage =
    "usage: dsv3-bench COMMAND [FOLDER...] [OPTION...]\n"
    "  ops                 kernels one at a time, as JSON\n"
    "  model FOLDER...     ceilings, load, prefill and decode: a table\n"
    "  text FOLDER         tokenizer and constraints, as JSON\n"
    "model:\n"
    "  --case CASE         prompt=N or decode, then context=N, batch=N, threads=N, tokens=N,\n"
    "                      cache=f8, all with commas; again for more cases\n"
    "  --runs N            of each case (5)\n"
    "  --threads N         of cases that name none (one per processor)\n"
    "  --step-tokens N     rows of one pass (512)\n"
    "  --cpu-level L       scalar, avx2, avx512 (the best)\n"
    "  --fast              determinism FAST\n"
    "  --copy              weights into own memory\n"
    "  --ops               the time of each op of every case, in a pass and alone (CPU)\n"
    "  --plot FILE         SVG: time per op stacked, beside the floors\n"
    "  --versus WHAT       in turns with another library (its path) or other options: cpu_level=,\n"
    "                      threads=, step_tokens=, determinism=, weights=, model=; with commas\n"
    "  --json FILE, --csv FILE   also write these; - is standard output, instead of the table\n"
    "any:\n"
    "  --device cpu|cuda, --ordinal N, --1x128, --text FILE, --small\n";

class Words {
 public:
  Words(int argc, const char* const* argv) : words_(argv + 1, argv + argc) {}
  bool empty() const { return at_ == words_.size(); }
  std::string take() { return words_[at_++]; }
  std::string value(const std::string& option) {
    if (empty()) fail(Status::kInvalidArgument, option, " has no value");
    return take();
  }
  uint32_t number(const std::string& option) {
    const std::string text = value(option);
    const std::optional<uint32_t> found = whole_number(text);
    if (!found) fail(Status::kInvalidArgument, option, " is \"", text, "\", wanted a number");
    return *found;
  }

 private:
  std::vector<std::string> words_;
  size_t at_ = 0;
};

int32_t cpu_level(const std::string& name) {
  if (name == "best") return DSV3_CPU_LEVEL_BEST;
  if (name == "scalar") return DSV3_CPU_LEVEL_SCALAR;
  if (name == "avx2") return DSV3_CPU_LEVEL_AVX2;
  if (name == "avx512") return DSV3_CPU_LEVEL_AVX512;
  fail(Status::kInvalidArgument, "--cpu-level is ", name, ", wanted scalar, avx2 or avx512");
}

// True when it was one of the options about model runs.
bool take_model_option(const std::string& word, Words& words, Options& options) {
  if (word == "--case") {
    options.cases.push_back(parse_case(words.value(word)));
  } else if (word == "--runs") {
    options.runs = words.number(word);
    if (options.runs == 0) fail(Status::kInvalidArgument, "--runs is 0, wanted at least 1");
  } else if (word == "--threads") {
    options.threads = words.number(word);
  } else if (word == "--step-tokens") {
    options.step_tokens = words.number(word);
  } else if (word == "--cpu-level") {
    options.cpu_level = cpu_level(words.value(word));
  } else if (word == "--fast") {
    options.determinism = DSV3_DETERMINISM_FAST;
  } else if (word == "--copy") {
    options.weights = DSV3_WEIGHTS_COPY;
  } else if (word == "--ops") {
    options.ops = true;
  } else if (word == "--plot") {
    options.plot = words.value(word);
  } else if (word == "--versus") {
    options.versus = words.value(word);
  } else if (word == "--json") {
    options.json = words.value(word);
  } else if (word == "--csv") {
    options.csv = words.value(word);
  } else {
    return false;
  }
  return true;
}

void take_option(const std::string& word, Words& words, Options& options) {
  if (word == "--device") {
    options.device = words.value(word);
    if (options.device != "cpu" && options.device != "cuda") {
      fail(Status::kInvalidArgument, "--device is ", options.device, ", wanted cpu or cuda");
    }
  } else if (word == "--ordinal") {
    options.ordinal = static_cast<int>(words.number(word));
  } else if (word == "--text") {
    options.texts.push_back(words.value(word));
  } else if (word == "--1x128") {
    options.one_by_128 = true;
  } else if (word == "--small") {
    options.small = true;
  } else if (!word.starts_with("-")) {
    options.models.push_back(word);
  } else if (!take_model_option(word, words, options)) {
    fail(Status::kInvalidArgument, word, " is no option");
  }
}

}  // namespace

const char* usage() { return kUsage; }

CommandLine parse_command_line(int argc, const char* const* argv) {
  Words words(argc, argv);
  if (words.empty()) fail(Status::kInvalidArgument, "no command");
  CommandLine line{.command = words.take()};
  while (!words.empty()) take_option(words.take(), words, line.options);
  const bool wants_folder = line.command == "model" || line.command == "text";
  if (!wants_folder && line.command != "ops") {
    fail(Status::kInvalidArgument, line.command, " is no command");
  }
  if (wants_folder && line.options.models.empty()) {
    fail(Status::kInvalidArgument, line.command, " needs a folder");
  }
  if (line.options.small) line.options.runs = std::min(line.options.runs, 2u);
  return line;
}

}  // namespace dsv3::bench
