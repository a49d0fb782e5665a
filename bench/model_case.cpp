#include "model_case.h"

#include "base/error.h"
#include "values.h"

namespace dsv3::bench {
namespace {

uint32_t number(std::string_view word, std::string_view value) {
  const std::optional<uint32_t> found = whole_number(value);
  if (!found) fail(Status::kInvalidArgument, "--case: \"", word, "\" has no number");
  return *found;
}

void set(ModelCase& made, std::string_view word) {
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
  if (key == "decode" && value.empty()) {
    made.prompt = 0;
  } else if (key == "prompt") {
    made.prompt = number(word, value);
  } else if (key == "context") {
    made.context = number(word, value);
  } else if (key == "batch") {
    made.batch = number(word, value);
  } else if (key == "threads") {
    made.threads = number(word, value);
  } else if (key == "tokens") {
    made.tokens = number(word, value);
  } else if (key == "cache" && (value == "f8" || value == "auto")) {
    made.cache_f8 = value == "f8";
  } else {
    fail(Status::kInvalidArgument, "--case: \"", word,
         "\" is not known; wanted decode or prompt=N, and context=N, batch=N, threads=N, "
         "tokens=N, cache=f8");
  }
}

}  // namespace

uint64_t ModelCase::positions(uint32_t runs) const {
  const uint64_t before = context == 0 && !is_prefill() ? 1 : context;
  // Each prefill ends with a token drawn; a decode warms up once.
  return is_prefill() ? before + 1 + prompt + 1
                      : before + 1 + (uint64_t{tokens} + 1) * (uint64_t{runs} + 1);
}

std::string ModelCase::name() const {
  std::string out = is_prefill() ? str("prefill ", prompt) : "decode";
  if (context > 0) out += str(", ", context, " context");
  if (batch > 1) out += str(", batch ", batch);
  if (cache_f8) out += ", f8 cache";
  return out;
}

ModelCase parse_case(std::string_view text) {
  ModelCase made;
  for (bool is_first = true, is_last = false; !is_last; is_first = false) {
    const size_t comma = text.find(',');
    is_last = comma == std::string_view::npos;
    const std::string_view word = text.substr(0, comma);
    if (!is_last) text.remove_prefix(comma + 1);
    if (is_first && !word.starts_with("prompt=") && word != "decode") {
      fail(Status::kInvalidArgument, "--case: \"", word,
           "\" comes first, wanted decode or prompt=N");
    }
    set(made, word);
  }
  if (made.batch == 0 || made.tokens == 0) {
    fail(Status::kInvalidArgument, "--case: batch and tokens are at least 1");
  }
  return made;
}

std::vector<ModelCase> default_cases(bool small) {
  if (small) {
    return {{.prompt = 64},
            {.prompt = 0, .tokens = 4},
            {.prompt = 0, .context = 65, .batch = 2, .tokens = 4}};
  }
  return {{.prompt = 512},
          {.prompt = 2048},
          {.prompt = 0},
          {.prompt = 0, .context = 2048},
          {.prompt = 0, .batch = 8}};
}

}  // namespace dsv3::bench
