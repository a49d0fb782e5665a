// Goal: each rule of the format (spec §6.3 items 1 to 6) has its own refusal that names file,
// tensor, value found and value wanted. Method: one hostile file per rule, then seeded damage to a
// valid one.
#include "checkpoint/safetensors.h"

#include <limits>
#include <set>

#include "base/random.h"
#include "checkpoint/build_file.h"
#include "support/expect_error.h"
#include "support/failing_new.h"
#include "support/soak.h"

namespace dsv3 {
namespace {

std::vector<TensorEntry> read(const std::string& content, const CheckpointLimits& limits = {}) {
  const MemoryFile file{"f.safetensors", content.data(), content.size()};
  MemorySource source({&file, 1});
  return read_safetensors(*source.open("f.safetensors"), "f.safetensors", 0, limits);
}

struct Case {
  const char* name;
  std::string content;
  std::vector<const char*> words;
};

std::string entry(const std::string& members) { return "{\"t\":{" + members + "}}"; }
std::string ranged(const std::string& shape, const std::string& offsets,
                   const std::string& dtype = "F32") {
  return entry("\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
}
// Tensors "a" and "b" at these offsets, of a dtype that does not fix their size.
std::string two(const std::string& a, const std::string& b, size_t bytes) {
  return raw_file(R"({"a":{"dtype":"F3","shape":[],"data_offsets":)" + a +
                      R"(},"b":{"dtype":"F3","shape":[],"data_offsets":)" + b + "}}",
                  std::string(bytes, 'x'));
}

std::vector<Case> cases() {
  const std::string eight(8, 'x');
  std::string long_header = raw_file("{}");
  long_header[4] = 1;
  std::string cut = raw_file("{}");
  cut.pop_back();
  return {
      // 1: the frame
      {"no length", "1234567", {"has 7 bytes", "at least 8"}},
      {"empty file", "", {"has 0 bytes", "at least 8"}},
      {"huge length", long_header, {"length is 4294967298", "at most 100000000"}},
      {"length past the file", cut, {"length is 2", "9 bytes", "at most 1"}},
      // 2: the text
      {"empty header", raw_file(""), {"header is empty"}},
      {"leading space", raw_file(" {}"), {"begins with \" \"", "\"{\""}},
      {"array", raw_file("[]"), {"begins with \"[\"", "\"{\""}},
      {"byte order mark", raw_file("\xef\xbb\xbf{}"), {"begins with", "\"{\""}},
      {"broken JSON", raw_file("{\"t\":}"), {"invalid JSON at byte"}},
      {"text behind", raw_file("{}{}"), {"invalid JSON"}},
      {"NUL padding", raw_file(std::string("{}\0", 3)), {"NUL"}},
      {"invalid UTF-8", raw_file("{\"\xff\":{}}"), {"invalid UTF-8 at byte 2"}},
      {"deep", raw_file(entry("\"x\":[[[[[[[[[[]]]]]]]]]]")), {"nested deeper than 8"}},
      // 3: the members
      {"tensor twice",
       raw_file(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                R"("t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       {"key \"t\"", "twice"}},
      {"dtype twice",
       raw_file(entry(R"("dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0])")),
       {"key \"dtype\"", "twice"}},
      {"shape twice",
       raw_file(entry(R"("dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0])")),
       {"key \"shape\"", "twice"}},
      {"offsets twice",
       raw_file(entry(R"("dtype":"U8","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0])")),
       {"key \"data_offsets\"", "twice"}},
      {"metadata twice", raw_file(R"({"__metadata__":{"a":"1","a":"2"}})"), {"key \"a\"", "twice"}},
      {"no dtype", raw_file(entry(R"("shape":[0],"data_offsets":[0,0])")), {"\"t\": has no dtype"}},
      {"no shape",
       raw_file(entry(R"("dtype":"U8","data_offsets":[0,0])")),
       {"\"t\": has no shape"}},
      {"no offsets",
       raw_file(entry(R"("dtype":"U8","shape":[0])")),
       {"\"t\": has no data_offsets"}},
      {"dtype number",
       raw_file(entry(R"("dtype":3,"shape":[0],"data_offsets":[0,0])")),
       {"\"t\": dtype is a number, wanted a string"}},
      {"dtype null",
       raw_file(entry(R"("dtype":null,"shape":[0],"data_offsets":[0,0])")),
       {"\"t\": dtype is null, wanted a string"}},
      {"dtype array",
       raw_file(entry(R"("dtype":["U8"],"shape":[0],"data_offsets":[0,0])")),
       {"\"t\": dtype is an array, wanted a string"}},
      {"shape object", raw_file(ranged("{}", "[0,0]")), {"\"t\": shape is an object", "array"}},
      {"shape number", raw_file(ranged("0", "[0,0]")), {"\"t\": shape is a number", "array"}},
      {"offsets string", raw_file(ranged("[0]", "\"0,0\"")), {"data_offsets is a string", "array"}},
      {"negative dimension",
       raw_file(ranged("[-1]", "[0,0]")),
       {"\"t\": shape holds -1", "wanted a whole number from 0 to 2^63 - 1"}},
      {"minus zero", raw_file(ranged("[-0]", "[0,0]")), {"\"t\": shape holds -0"}},
      {"fraction", raw_file(ranged("[1.0]", "[0,4]"), "1234"), {"\"t\": shape holds 1.0", "whole"}},
      {"exponent", raw_file(ranged("[1e0]", "[0,4]"), "1234"), {"\"t\": shape holds 1e0", "whole"}},
      {"2^63",
       raw_file(ranged("[9223372036854775808]", "[0,0]")),
       {"\"t\": shape holds 9223372036854775808", "2^63 - 1"}},
      {"2^64",
       raw_file(ranged("[0]", "[0,18446744073709551616]")),
       {"\"t\": data_offsets holds 18446744073709551616", "2^63 - 1"}},
      {"dimension string", raw_file(ranged("[\"1\"]", "[0,4]")), {"\"t\": shape holds a string"}},
      {"dimension array", raw_file(ranged("[[1]]", "[0,4]")), {"\"t\": shape holds an array"}},
      {"dimension null", raw_file(ranged("[null]", "[0,4]")), {"\"t\": shape holds null"}},
      {"offset boolean", raw_file(ranged("[]", "[false,4]")), {"\"t\": data_offsets holds false"}},
      {"one offset",
       raw_file(ranged("[]", "[0]")),
       {"\"t\": data_offsets has 1 numbers, wanted 2"}},
      {"three offsets",
       raw_file(ranged("[]", "[0,4,4]")),
       {"data_offsets has 3 numbers, wanted 2"}},
      {"tensor is a string", raw_file(R"({"t":"x"})"), {"\"t\" is a string, wanted an object"}},
      {"tensor is a list", raw_file(R"({"t":[]})"), {"\"t\" is an array, wanted an object"}},
      {"metadata value",
       raw_file(R"({"__metadata__":{"a":1}})"),
       {"__metadata__ \"a\" is a number, wanted a string"}},
      {"metadata object",
       raw_file(R"({"__metadata__":{"a":{}}})"),
       {"__metadata__ \"a\" is an object, wanted a string"}},
      {"metadata kind", raw_file(R"({"__metadata__":"x"})"), {"\"__metadata__\" is a string"}},
      // 4: an unknown dtype does not excuse its range
      {"unknown dtype's range",
       raw_file(ranged("[]", "[0,9]", "F3"), eight),
       {"\"t\": data_offsets end at 9", "8 bytes"}},
      // 5: ranges and sizes
      {"begin after end", raw_file(ranged("[]", "[4,0]"), "1234"), {"begin at 4", "end 0"}},
      {"end past the buffer",
       raw_file(ranged("[2]", "[0,8]"), "1234"),
       {"\"t\": data_offsets end at 8", "buffer of 4 bytes"}},
      {"product of the shape",
       raw_file(ranged("[4294967296,4294967296]", "[0,0]")),
       {"product of its shape", "4294967296 * 4294967296"}},
      {"bits",
       raw_file(ranged("[4611686018427387904]", "[0,0]")),
       {"4611686018427387904 elements of 32 bits"}},
      {"span too short",
       raw_file(ranged("[3]", "[0,8]"), eight),
       {"\"t\": data_offsets span 8 bytes, F32 [3] wants 12"}},
      {"span too long", raw_file(ranged("[1]", "[0,8]"), eight), {"span 8 bytes", "wants 4"}},
      {"scalar", raw_file(ranged("[]", "[0,8]"), eight), {"span 8 bytes, F32 [] wants 4"}},
      {"half bytes",
       raw_file(ranged("[3]", "[0,2]", "F4"), "12"),
       {"F4 [3] is 12 bits", "whole bytes"}},
      // 6: tiling
      {"hole at the start", two("[1,4]", "[4,8]", 8), {"bytes 0 to 1", "\"a\"", "no tensor"}},
      {"hole between", two("[0,3]", "[4,8]", 8), {"bytes 3 to 4", "\"b\"", "no tensor"}},
      {"overlap",
       two("[0,5]", "[4,8]", 8),
       {"\"b\" begins at byte 4", "overlaps", "\"a\"", "byte 5"}},
      {"same range", two("[0,8]", "[0,8]", 8), {"begins at byte 0", "overlaps"}},
      {"empty inside", two("[0,8]", "[4,4]", 8), {"\"b\" begins at byte 4", "overlaps"}},
      {"tail", two("[0,4]", "[4,7]", 8), {"end at byte 7", "buffer at byte 8"}},
      {"data without tensors", raw_file("{}", "x"), {"end at byte 0", "buffer at byte 1"}},
  };
}

TEST(Safetensors, RefusesEveryBrokenFileInItsOwnWords) {
  std::set<std::string> messages;
  for (const Case& broken : cases()) {
    SCOPED_TRACE(broken.name);
    try {
      read(broken.content);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kInvalidModel) << error.message();
      EXPECT_EQ(error.message().rfind("f.safetensors: ", 0), 0u) << error.message();
      for (const char* const word : broken.words) {
        EXPECT_NE(error.message().find(word), std::string::npos)
            << word << " in " << error.message();
      }
      messages.insert(error.message());
    }
  }
  // Only a tensor and its metadata said twice share their words with nobody else's fault.
  EXPECT_GE(messages.size(), cases().size() - 4);
}

TEST(Safetensors, ReadsWhatTheFormatAllows) {
  const std::string content = build_file({{"z", "BF16", {2, 3}, "abcdefghijkl"},
                                          {"scalar", "F32", {}, "1234"},
                                          {"empty", "F8_E4M3", {0, 128}, ""},
                                          {"packed", "F4", {2, 3}, "xyz"},
                                          {"six", "F6_E2M3", {4}, "xyz"},
                                          {"many", "U8", {1, 1, 1, 1, 2}, "xy"}});
  const std::vector<TensorEntry> entries = read(content);
  ASSERT_EQ(entries.size(), 6u);
  const TensorEntry& z = entries.back();
  EXPECT_EQ(z.name, "z");
  EXPECT_EQ(z.dtype, DType::kBF16);
  EXPECT_TRUE((z.shape == Shape{2, 3}));
  EXPECT_EQ(z.description(), "BF16 [2, 3]");
  EXPECT_EQ(content.substr(z.begin, z.bytes), "abcdefghijkl");
  EXPECT_EQ(entries[1].name, "many");
  EXPECT_EQ(entries[1].rank, 5u);
  EXPECT_EQ(entries[1].description(), "U8 of 5 dimensions");
  EXPECT_EQ(entries[3].rank, 0u);
  EXPECT_EQ(entries[0].bytes, 0u);
}

TEST(Safetensors, AcceptsAnEmptyFileAndUnusedOddities) {
  EXPECT_TRUE(read(raw_file("{}")).empty());
  EXPECT_TRUE(read(raw_file("{}      ")).empty());
  EXPECT_TRUE(read(raw_file(R"({"__metadata__":{}})")).empty());
  // An unknown dtype, and members the format does not name (with the names of those it does
  // inside).
  const auto entries = read(raw_file(
      entry(R"("extra":{"dtype":[7],"shape":{"data_offsets":[1]}},"dtype":"F3","shape":[5],)"
            R"("more":[1,"x",null,true,-1,0.5],"data_offsets":[0,2])"),
      "xy"));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_FALSE(entries[0].dtype);
  EXPECT_EQ(entries[0].dtype_name, "F3");
  EXPECT_EQ(entries[0].description(), "\"F3\" [5]");
}

TEST(Safetensors, HoldsItsLimits) {
  CheckpointLimits limits;
  limits.tensors_max = 1;
  EXPECT_TRUE(throws_error(Status::kLimit, {"f.safetensors", "more than 1 tensors"},
                           [&] { read(two("[0,0]", "[0,0]", 0), limits); }));
  limits = {};
  limits.name_bytes_max = 3;
  EXPECT_TRUE(throws_error(Status::kLimit, {"\"name\"", "4 bytes", "at most 3"}, [&] {
    read(build_file({{"name", "U8", {0}, ""}}), limits);
  }));
  limits = {};
  limits.rank_max = 2;
  EXPECT_TRUE(throws_error(Status::kLimit, {"\"t\"", "more than 2 dimensions"}, [&] {
    read(build_file({{"t", "U8", {0, 0, 0}, ""}}), limits);
  }));
  limits = {};
  limits.header_bytes_max = 100;
  EXPECT_TRUE(throws_error(Status::kInvalidModel, {"length is 101", "at most 100"},
                           [&] { read(raw_file("{}" + std::string(99, ' ')), limits); }));
}

// What must hold for any file that was accepted.
void expect_sound(const std::vector<TensorEntry>& entries, const std::string& content) {
  uint64_t total = 0;
  for (const TensorEntry& found : entries) {
    ASSERT_LE(found.begin, content.size());
    ASSERT_LE(found.bytes, content.size() - found.begin);
    total += found.bytes;
    if (found.dtype && found.rank <= kRankMax) {
      EXPECT_EQ(found.shape.elements() * dtype_bits(*found.dtype), found.bytes * 8);
    }
  }
  if (!entries.empty()) {
    EXPECT_LE(total, content.size());
  }
}

TEST(Safetensors, SurvivesSeededDamage) {
  const std::string good = sharded_folder()["one.safetensors"];
  uint64_t refused = 0;
  const uint64_t first = test::soak_seeds();
  for (uint64_t seed = first; seed < first + 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::string content = good;
    for (uint64_t i = 0; i <= seed % 3; ++i) {
      const uint64_t bits = random_bits(seed, i);
      content[bits % content.size()] ^= static_cast<char>(1u << (bits >> 32 & 7u));
    }
    if (seed % 4 == 0) content.resize(random_bits(seed, 9) % content.size());
    try {
      expect_sound(read(content), content);
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.message().rfind("f.safetensors: ", 0), 0u) << error.message();
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST(Safetensors, SurvivesEveryFailedAllocation) {
  const std::string content = sharded_folder()["one.safetensors"];
  const uint64_t live = FailingNew::blocks_live();
  bool reached_end = false;
  for (uint64_t n = 0; n < 1000 && !reached_end; ++n) {
    const FailingNew failing(n);
    try {
      read(content);
      reached_end = true;
    } catch (const std::bad_alloc&) {
    }
  }
  EXPECT_TRUE(reached_end);
  EXPECT_EQ(FailingNew::blocks_live(), live);
}

}  // namespace
}  // namespace dsv3
