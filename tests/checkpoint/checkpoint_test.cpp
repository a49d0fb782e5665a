// Goal: one file or many shards become one list of tensors, and every broken index (spec §6.3 item
// 7) is refused in its own words. Method: folders in memory, damaged one way at a time.
#include "checkpoint/checkpoint.h"

#include <cstring>

#include "base/random.h"
#include "checkpoint/build_file.h"
#include "support/expect_error.h"
#include "support/failing_new.h"

namespace dsv3 {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

std::unique_ptr<Checkpoint> open(const TestFolder& folder, const CheckpointLimits& limits = {}) {
  return Checkpoint::open(memory_source(folder), limits);
}

TestFolder with_index(const std::string& weight_map) {
  TestFolder folder = sharded_folder();
  folder[kIndex] = "{\"weight_map\":" + weight_map + "}";
  return folder;
}

std::string text_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorEntry* const entry = checkpoint.find(name);
  if (entry == nullptr) return "absent";
  std::string copy(entry->bytes, '\0');
  checkpoint.read_tensor(*entry, reinterpret_cast<std::byte*>(copy.data()));
  const TensorView view = checkpoint.map_tensor(*entry);
  EXPECT_EQ(view.bytes, entry->bytes);
  EXPECT_EQ(std::memcmp(view.data, copy.data(), copy.size()), 0);
  EXPECT_TRUE(view.shape == entry->shape);
  return copy;
}

TEST(Checkpoint, OpensShardsWithATensorAndItsScaleApart) {
  const TestFolder folder = sharded_folder();
  const auto checkpoint = open(folder);
  ASSERT_EQ(checkpoint->tensors().size(), 4u);
  ASSERT_EQ(checkpoint->files().size(), 2u);
  EXPECT_EQ(text_of(*checkpoint, "w"), "abcdef");
  EXPECT_EQ(text_of(*checkpoint, "b"), "\x80\x3f");
  EXPECT_EQ(text_of(*checkpoint, "W"), "absent");
  EXPECT_NE(checkpoint->find("w")->file, checkpoint->find("w_scale_inv")->file);
  EXPECT_EQ(checkpoint->files()[checkpoint->find("b")->file], "two.safetensors");
  EXPECT_EQ(checkpoint->bytes_total(), 8u + 6u + 4u + 2u);
  EXPECT_TRUE(checkpoint->can_map());
  std::byte part[2];
  checkpoint->read_tensor_range(*checkpoint->find("w"), 3, part, 2);
  EXPECT_EQ(std::memcmp(part, "de", 2), 0);
  EXPECT_TRUE(throws_error(Status::kInternal, {}, [&] {
    checkpoint->read_tensor_range(*checkpoint->find("w"), 5, part, 2);
  }));
  checkpoint->will_need(*checkpoint->find("w"));
}

TEST(Checkpoint, OpensASingleFile) {
  const TestFolder folder = {{"model.safetensors", sharded_folder()["one.safetensors"]}};
  const auto checkpoint = open(folder);
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(text_of(*checkpoint, "w"), "abcdef");
}

TEST(Checkpoint, TheIndexDecidesWhatIsVisible) {
  TestFolder folder = with_index(R"({"w":"one.safetensors"})");
  folder["model.safetensors"] = "not read";
  EXPECT_EQ(open(folder)->tensors().size(), 1u);
  // A tensor in both files: the map names the one that counts.
  folder = with_index(R"({"a":"two.safetensors","w":"one.safetensors"})");
  folder["two.safetensors"] = build_file({{"a", "U8", {3}, "two"}});
  EXPECT_EQ(text_of(*open(folder), "a"), "two");
}

TEST(Checkpoint, OpensInSlices) {
  const TestFolder folder = sharded_folder();
  Checkpoint::Opener opener(memory_source(folder));
  EXPECT_EQ(opener.steps_total(), 1u);
  EXPECT_FALSE(opener.step());
  EXPECT_EQ(opener.steps_total(), 3u);
  EXPECT_FALSE(opener.step());
  EXPECT_TRUE(throws_error(Status::kInternal, {}, [&] { opener.finish(); }));
  EXPECT_TRUE(opener.step());
  EXPECT_TRUE(opener.step());
  EXPECT_EQ(opener.steps_done(), 3u);
  EXPECT_EQ(opener.finish()->tensors().size(), 4u);
}

TEST(Checkpoint, ReadsSmallTextFiles) {
  TestFolder folder = sharded_folder();
  folder["config.json"] = "{}";
  const auto checkpoint = open(folder);
  EXPECT_EQ(checkpoint->text_file("config.json", 2), "{}");
  EXPECT_EQ(checkpoint->text_file("absent.json", 2), std::nullopt);
  EXPECT_TRUE(throws_error(Status::kLimit, {"config.json", "2 bytes", "at most 1"},
                           [&] { checkpoint->text_file("config.json", 1); }));
}

TEST(Checkpoint, RefusesBrokenIndexes) {
  const auto refused = [](std::initializer_list<std::string_view> words, const TestFolder& folder) {
    return throws_error(Status::kInvalidModel, words, [&] { open(folder); });
  };
  EXPECT_TRUE(refused({"memory", kIndex, "model.safetensors", "wanted one"}, {}));
  EXPECT_TRUE(refused({kIndex, "\"w\"", "\"/etc/passwd\"", "absolute"},
                      with_index(R"({"w":"/etc/passwd"})")));
  EXPECT_TRUE(refused({kIndex, "\"w\"", "\"../one.safetensors\"", "\"..\""},
                      with_index(R"({"w":"../one.safetensors"})")));
  EXPECT_TRUE(refused({kIndex, "\"w\"", "separator"}, with_index(R"({"w":"x/one.safetensors"})")));
  EXPECT_TRUE(refused({kIndex, "\"w\"", "control"}, with_index(R"({"w":"one\u0000"})")));
  EXPECT_TRUE(refused({kIndex, "maps tensor \"b\" to file \"one.safetensors\"", "not hold"},
                      with_index(R"({"b":"one.safetensors","w":"one.safetensors"})")));
  EXPECT_TRUE(refused({kIndex, "\"zz\"", "not hold"},
                      with_index(R"({"a":"one.safetensors","zz":"one.safetensors"})")));
  EXPECT_TRUE(refused({"shard \"three.safetensors\" is missing", "\"w\""},
                      with_index(R"({"w":"three.safetensors"})")));
  EXPECT_TRUE(refused({kIndex, "weight_map.w", "1", "string"}, with_index(R"({"w":1})")));
  EXPECT_TRUE(refused({kIndex, "\"w\"", "twice"},
                      with_index(R"({"w":"one.safetensors","w":"two.safetensors"})")));
  EXPECT_TRUE(refused({kIndex, "weight_map is empty"}, with_index("{}")));
  EXPECT_TRUE(refused({kIndex, "weight_map", "an array", "an object"}, with_index("[]")));
  EXPECT_TRUE(refused({kIndex, "no \"weight_map\""}, {{kIndex, "{}"}}));
  EXPECT_TRUE(refused({kIndex, "invalid JSON"}, {{kIndex, "{"}}));
  TestFolder folder = sharded_folder();
  folder["two.safetensors"].pop_back();
  EXPECT_TRUE(refused({"two.safetensors", "\"b\"", "past the data buffer"}, folder));
}

TEST(Checkpoint, HoldsItsLimits) {
  const TestFolder folder = sharded_folder();
  CheckpointLimits limits;
  limits.tensors_max = 3;
  EXPECT_TRUE(throws_error(Status::kLimit, {kIndex, "4 tensors", "at most 3"},
                           [&] { open(folder, limits); }));
  limits = {};
  limits.files_max = 1;
  EXPECT_TRUE(throws_error(Status::kLimit, {kIndex, "2 files", "at most 1"},
                           [&] { open(folder, limits); }));
  limits = {};
  limits.index_bytes_max = 10;
  EXPECT_TRUE(throws_error(Status::kLimit, {kIndex, "at most 10"}, [&] { open(folder, limits); }));
}

TEST(Checkpoint, RefusesToUseWhatItDoesNotKnow) {
  TestFolder folder = {{"model.safetensors", build_file({{"odd", "F3", {7}, "xy"},
                                                         {"many", "U8", {1, 1, 1, 1, 1}, "x"}})}};
  const auto checkpoint = open(folder);
  std::byte out[2];
  for (const char* const name : {"odd", "many"}) {
    const TensorEntry* const entry = checkpoint->find(name);
    ASSERT_NE(entry, nullptr);
    EXPECT_TRUE(throws_error(Status::kUnsupported, {"model.safetensors", name},
                             [&] { checkpoint->map_tensor(*entry); }));
    EXPECT_TRUE(throws_error(Status::kUnsupported, {"model.safetensors", name},
                             [&] { checkpoint->read_tensor(*entry, out); }));
  }
}

TEST(Checkpoint, CopiesWhereTheSourceCannotMap) {
  const std::string content = sharded_folder()["one.safetensors"];
  IoCallbacks io;
  io.open = [](void* user_data, const char* name, void** out_file) -> int32_t {
    *out_file = user_data;
    return std::string_view(name) == "model.safetensors" ? 0 : 1;
  };
  io.size = [](void*, void* file, uint64_t* out_bytes) -> int32_t {
    *out_bytes = static_cast<const std::string*>(file)->size();
    return 0;
  };
  io.read = [](void*, void* file, uint64_t offset, void* out, uint64_t bytes) -> int32_t {
    std::memcpy(out, static_cast<const std::string*>(file)->data() + offset, bytes);
    return 0;
  };
  io.close = [](void*, void*) {};
  io.user_data = const_cast<std::string*>(&content);
  const auto checkpoint = Checkpoint::open(std::make_unique<IoSource>(io));
  EXPECT_FALSE(checkpoint->can_map());
  const TensorEntry* const w = checkpoint->find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_TRUE(throws_error(Status::kUnsupported, {"model.safetensors", "dsv3_io", "copied"},
                           [&] { checkpoint->map_tensor(*w); }));
  std::byte out[6];
  checkpoint->read_tensor(*w, out);
  EXPECT_EQ(std::memcmp(out, "abcdef", 6), 0);
}

TEST(Checkpoint, SurvivesSeededDamageToAnyFile) {
  const TestFolder good = sharded_folder();
  uint64_t opened = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    TestFolder folder = good;
    std::string& content = std::next(folder.begin(), static_cast<ptrdiff_t>(seed % 3))->second;
    const uint64_t bits = random_bits(seed, 0);
    if (seed % 4 == 3) {
      content.resize(bits % content.size());
    } else {
      content[bits % content.size()] ^= static_cast<char>(1u << (bits >> 32 & 7u));
    }
    try {
      const auto checkpoint = open(folder);
      for (const TensorEntry& entry : checkpoint->tensors()) {
        if (entry.dtype) text_of(*checkpoint, entry.name);
      }
      ++opened;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(".safetensors"), std::string::npos) << error.message();
    }
  }
  // Flips in the data go unseen, most others do not.
  EXPECT_GT(opened, 50u);
  EXPECT_LT(opened, 800u);
}

TEST(Checkpoint, SurvivesEveryFailedAllocation) {
  const TestFolder folder = sharded_folder();
  const uint64_t live = FailingNew::blocks_live();
  bool reached_end = false;
  for (uint64_t n = 0; n < 2000 && !reached_end; ++n) {
    const FailingNew failing(n);
    try {
      const auto checkpoint = open(folder);
      text_of(*checkpoint, "w");
      reached_end = true;
    } catch (const std::bad_alloc&) {
    }
  }
  EXPECT_TRUE(reached_end);
  EXPECT_EQ(FailingNew::blocks_live(), live);
}

}  // namespace
}  // namespace dsv3
