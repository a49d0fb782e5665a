// Times text in and out: load of a tokenizer, tokens from text, constraints. One thread. `of_copy`
// compares with copying the same bytes.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "bench.h"
#include "bench_clock.h"
#include "constraint/constraint.h"
#include "constraint/json_schema.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace dsv3::bench {
namespace {

constexpr size_t kHostileBytes = 10 << 20;
constexpr size_t kSmallBytes = 1 << 16;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(Status::kIo, path, ": cannot be opened");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The shortest of some runs: the machine is rarely ours alone.
template <typename Work>
double shortest(int runs, const Work& work) {
  double best = 1e30;
  for (int run = 0; run < runs; ++run) {
    const double begin = now();
    work();
    best = std::min(best, now() - begin);
  }
  return best;
}

double copy_seconds(const std::string& text) {
  std::string copy(text.size(), '\0');
  return shortest(5, [&] { std::memcpy(copy.data(), text.data(), text.size()); });
}

Figure encode_figure(const Tokenizer& tokenizer, const std::string& name, const std::string& text,
                     int runs) {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  const double seconds = shortest(runs, [&] {
    ids.clear();
    tokenizer.encode(text, {.add_bos = false, .parse_special = true}, ids);
  });
  Figure figure{.name = name, .seconds = seconds};
  figure.bytes = static_cast<double>(text.size());
  figure.ratio = copy_seconds(text) / seconds;
  return figure;
}

std::string repeated(const std::string& piece, size_t bytes) {
  std::string out;
  out.reserve(bytes + piece.size());
  while (out.size() < bytes) out += piece;
  return out;
}

// Characters first ... first + count - 1 in no order: one piece that no cache knows.
std::string scattered(uint32_t first, uint32_t count, size_t bytes) {
  std::string out;
  out.reserve(bytes + 4);
  uint64_t state = 1;
  while (out.size() < bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    utf8_append(out, first + static_cast<uint32_t>(state >> 33) % count);
  }
  return out;
}

void add_hostile(const Tokenizer& tokenizer, size_t bytes, std::vector<Figure>* figures) {
  const struct {
    const char* name;
    const char* piece;
  } kinds[] = {{"one letter", "a"},
               {"spaces", " "},
               {"line ends", "\n"},
               {"combining marks", "\xCC\x81"},
               {"digits", "7"},
               {"one ideograph", "\xE4\xB8\xAD"},
               {"one emoji", "\xF0\x9F\x98\x80"},
               {"mark beginnings", "<\xEF\xBD\x9C"},
               {"ab", "ab"}};
  const auto add = [&](const char* name, const std::string& text) {
    figures->push_back(
        encode_figure(tokenizer, str("encode ", bytes >> 10, " KiB of ", name), text, 2));
  };
  for (const auto& kind : kinds) add(kind.name, repeated(kind.piece, bytes));
  add("scattered letters", scattered('a', 26, bytes));
  add("scattered ideographs", scattered(0x4E00, 0x5000, bytes));
}

// What an answer costs: compiling, then mask and advance along a text, first with empty caches.
struct Constrained {
  const char* name;
  const char* schema;
  const char* answer;
};

constexpr Constrained kConstrained[] = {
    {"person",
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
"email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"}},
"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"zip":{"type":"string",
"pattern":"^[0-9]{5}$"}},"required":["street","city"]}},"required":["name","age","address"]})",
     R"({"name": "Ophelia of Elsinore", "age": 19, "email": "ophelia@elsinore.dk", "tags": ["flowers", "river",
"songs"], "address": {"street": "Kronborg 2 C", "city": "Helsing\u00f8r", "zip": "30001"}})"},
    {"any JSON", "{}",
     R"({"a": [1, 2.5, -3e10, true, null, "text with \"quotes\" and \n line ends"], "b": {"c": {"d": [[], {}]}}})"},
};

double percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(part * static_cast<double>(values.size() - 1));
  return values[at];
}

void add_constraint(const Tokenizer& tokenizer, const std::shared_ptr<const TokenTrie>& trie,
                    const Constrained& asked, std::vector<Figure>* figures) {
  const std::string name = std::string("constraint ") + asked.name;
  const auto vocab = static_cast<uint32_t>(tokenizer.vocab_size());
  const int32_t ends[] = {tokenizer.eos_id()};
  const auto compile = [&] {
    Grammar grammar{GrammarLimits()};
    build_json_schema(grammar, asked.schema, JsonSchemaOptions());
    return std::make_shared<Constraint>(grammar, trie, ends, vocab, ConstraintOptions());
  };
  figures->push_back({.name = name + ": compile", .seconds = shortest(3, compile)});
  const std::shared_ptr<Constraint> constraint = compile();
  ConstraintCursor cursor(constraint);
  std::vector<int32_t> ids;
  tokenizer.encode(asked.answer, {}, ids);
  std::vector<uint32_t> allowed((vocab + 31) / 32);
  for (const char* const state : {"cold", "warm"}) {
    cursor.reset();
    std::vector<double> seconds;
    for (const int32_t id : ids) {
      std::fill(allowed.begin(), allowed.end(), UINT32_MAX);
      const double begin = now();
      cursor.mask(allowed);
      const bool is_next = cursor.advance(id);
      seconds.push_back(now() - begin);
      const auto bit = static_cast<uint32_t>(id);
      if (!is_next || (allowed[bit / 32] >> (bit % 32) & 1) == 0) {
        fail(Status::kInternal, name, ": the answer is refused at token ",
             uint64_t{seconds.size() - 1});
      }
    }
    const std::string prefix = name + ": token, caches " + state;
    figures->push_back({.name = prefix + ", median", .seconds = percentile(seconds, 0.5)});
    figures->push_back({.name = prefix + ", p99", .seconds = percentile(seconds, 0.99)});
  }
}

}  // namespace

std::vector<Figure> bench_text(const Options& options) {
  const std::string json = read_file(options.models.at(0) + "/tokenizer.json");
  const auto load = [&] { return Tokenizer::from_json(json, {}, TokenizerLimits()); };
  std::vector<Figure> figures;
  figures.push_back({.name = "load tokenizer.json", .seconds = shortest(3, load)});
  figures.back().bytes = static_cast<double>(json.size());
  const std::unique_ptr<Tokenizer> tokenizer = load();
  for (const std::string& path : options.texts) {
    figures.push_back(encode_figure(*tokenizer,
                                    "encode " + std::filesystem::path(path).filename().string(),
                                    read_file(path), 5));
  }
  add_hostile(*tokenizer, options.small ? kSmallBytes : kHostileBytes, &figures);
  std::shared_ptr<const TokenTrie> trie;
  figures.push_back(
      {.name = "token trie", .seconds = shortest(3, [&] { trie = make_token_trie(*tokenizer); })});
  for (const Constrained& asked : kConstrained) {
    add_constraint(*tokenizer, trie, asked, &figures);
  }
  return figures;
}

}  // namespace dsv3::bench
