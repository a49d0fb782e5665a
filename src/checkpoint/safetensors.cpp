// The state machine over a header's JSON, and the arithmetic that makes its ranges safe.
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/json_scan.h"
#include "checkpoint/source.h"

namespace dsv3 {
namespace {

constexpr uint64_t kPrefixBytes = 8;
constexpr uint64_t kNumberMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
constexpr uint32_t kDepthMax = 8;  // a valid header needs 3
constexpr std::string_view kMetadataKey = "__metadata__";

// Reads the events of a header into entries. Positions: the top object, an entry, the metadata, one
// of an entry's arrays, or something inside an entry that the format does not name (skipped).
class HeaderReader final : public JsonEvents {
 public:
  HeaderReader(const SafetensorsHeader& header, const std::string& file_name, uint32_t file_index,
               const CheckpointLimits& limits)
      : header_(header), file_name_(file_name), file_index_(file_index), limits_(limits) {}

  std::vector<TensorEntry> take() { return std::move(entries_); }

  void on_null() override { other_value("null"); }
  void on_boolean(bool value) override { other_value(value ? "true" : "false"); }
  void on_negative(int64_t value) override {
    if (at_number()) bad_number(value == 0 ? "-0" : str(value));
    other_value("a number");
  }
  void on_number(double, std::string_view text) override {
    if (at_number()) bad_number(text);
    other_value("a number");
  }
  void on_unsigned(uint64_t value) override {
    if (!at_number()) {
      other_value("a number");
      return;
    }
    if (value > kNumberMax) bad_number(str(value));
    if (place_ == Place::kShape) {
      add_dimension(value);
    } else {
      add_offset(value);
    }
  }

  void on_string(std::string_view value) override {
    if (at_member("dtype")) {
      entry_.dtype_name = value.substr(0, limits_.name_bytes_max);
      entry_.dtype = dtype_from_name(value);
      has_dtype_ = true;
    } else if (place_ != Place::kMetadata) {
      other_value("a string");
    }
  }

  void on_key(std::string_view key) override {
    key_ = key;
    if (place_ != Place::kTop || key == kMetadataKey) return;
    if (key.size() > limits_.name_bytes_max) {
      fail(Status::kLimit, file_name_, ": tensor name ", quote(key), " has ", uint64_t{key.size()},
           " bytes, wanted at most ", limits_.name_bytes_max);
    }
    if (entries_.size() >= limits_.tensors_max) {
      fail(Status::kLimit, file_name_, ": more than ", limits_.tensors_max, " tensors");
    }
  }

  void on_object_begin() override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return;
      case Place::kTop:
        if (key_ == kMetadataKey) {
          place_ = Place::kMetadata;
        } else {
          begin_entry();
        }
        return;
      default:
        begin_other("an object");
    }
  }
  void on_object_end() override {
    if (end_other()) return;
    if (place_ == Place::kEntry) end_entry();
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
  }

  void on_array_begin() override {
    if (at_member("shape")) {
      place_ = Place::kShape;
      has_shape_ = true;
      entry_.rank = 0;
      elements_ = 1;
    } else if (at_member("data_offsets")) {
      place_ = Place::kOffsets;
      offsets_ = 0;
    } else {
      begin_other("an array");
    }
  }
  void on_array_end() override {
    if (end_other()) return;
    if (place_ == Place::kOffsets && offsets_ != 2) {
      fail(Status::kInvalidModel, tensor(), ": data_offsets has ", offsets_, " numbers, wanted 2");
    }
    place_ = Place::kEntry;
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kEntry, kShape, kOffsets };

  std::string tensor() const { return str(file_name_, ": tensor ", quote(entry_.name)); }
  bool at_number() const {
    return skipped_ == 0 && (place_ == Place::kShape || place_ == Place::kOffsets);
  }
  bool at_member(std::string_view name) const {
    return skipped_ == 0 && place_ == Place::kEntry && key_ == name;
  }
  std::string_view array_name() const { return place_ == Place::kShape ? "shape" : "data_offsets"; }

  [[noreturn]] void bad_number(std::string_view found) const {
    fail(Status::kInvalidModel, tensor(), ": ", array_name(), " holds ", found,
         ", wanted a whole number from 0 to 2^63 - 1");
  }

  // A value of a kind that this place has no use for: skipped inside unknown members of an entry,
  // refused anywhere else.
  void other_value(std::string_view found) {
    if (skipped_ != 0) return;
    switch (place_) {
      case Place::kOutside:
        fail(Status::kInvalidModel, file_name_, ": the header is ", found, ", wanted an object");
      case Place::kTop:
        fail(Status::kInvalidModel, file_name_, ": ", quote(key_), " is ", found,
             ", wanted an object");
      case Place::kMetadata:
        fail(Status::kInvalidModel, file_name_, ": __metadata__ ", quote(key_), " is ", found,
             ", wanted a string");
      case Place::kShape:
      case Place::kOffsets:
        bad_number(found);
      case Place::kEntry:
        break;
    }
    if (key_ == "dtype" || key_ == "shape" || key_ == "data_offsets") {
      fail(Status::kInvalidModel, tensor(), ": ", key_, " is ", found, ", wanted ",
           key_ == "dtype" ? "a string" : "an array of whole numbers");
    }
  }
  void begin_other(std::string_view found) {
    other_value(found);
    ++skipped_;
  }
  bool end_other() {
    if (skipped_ == 0) return false;
    --skipped_;
    return true;
  }

  void begin_entry() {
    place_ = Place::kEntry;
    entry_ = TensorEntry{};
    entry_.name = key_;
    entry_.file = file_index_;
    elements_ = 1;
    offsets_ = 0;
    has_dtype_ = false;
    has_shape_ = false;
  }

  void add_dimension(uint64_t value) {
    if (entry_.rank >= limits_.rank_max) {
      fail(Status::kLimit, tensor(), ": shape has more than ", limits_.rank_max, " dimensions");
    }
    if (entry_.rank < kRankMax) entry_.shape.dims[entry_.rank] = value;
    ++entry_.rank;
    const auto product = checked_mul(elements_, value);
    if (!product) {
      fail(Status::kInvalidModel, tensor(), ": the product of its shape does not fit 64 bits (",
           elements_, " * ", value, ")");
    }
    elements_ = *product;
  }

  void add_offset(uint64_t value) {
    if (offsets_ == 0) begin_ = value;
    if (offsets_ == 1) end_ = value;
    ++offsets_;
  }

  void end_entry() {
    if (!has_dtype_) fail(Status::kInvalidModel, tensor(), ": has no dtype");
    if (!has_shape_) fail(Status::kInvalidModel, tensor(), ": has no shape");
    if (offsets_ == 0) fail(Status::kInvalidModel, tensor(), ": has no data_offsets");
    entry_.shape.rank = entry_.rank <= kRankMax ? entry_.rank : 0;
    check_range();
    if (entry_.dtype) check_bytes();
    entry_.begin = header_.data_begin + begin_;
    entry_.bytes = end_ - begin_;
    entries_.push_back(std::move(entry_));
  }

  void check_range() const {
    const uint64_t buffer = header_.file_bytes - header_.data_begin;
    if (begin_ > end_) {
      fail(Status::kInvalidModel, tensor(), ": data_offsets begin at ", begin_,
           ", after their end ", end_);
    }
    if (end_ > buffer) {
      fail(Status::kInvalidModel, tensor(), ": data_offsets end at ", end_,
           ", past the data buffer of ", buffer, " bytes");
    }
  }

  void check_bytes() const {
    const uint64_t bits_each = dtype_bits(*entry_.dtype);
    const auto bits = checked_mul(elements_, bits_each);
    if (!bits) {
      fail(Status::kInvalidModel, tensor(), ": ", elements_, " elements of ", bits_each,
           " bits do not fit 64 bits");
    }
    if (*bits % 8 != 0) {
      fail(Status::kInvalidModel, tensor(), ": ", entry_.description(), " is ", *bits,
           " bits, wanted whole bytes");
    }
    if (*bits / 8 != end_ - begin_) {
      fail(Status::kInvalidModel, tensor(), ": data_offsets span ", end_ - begin_, " bytes, ",
           entry_.description(), " wants ", *bits / 8);
    }
  }

  const SafetensorsHeader& header_;
  const std::string& file_name_;
  const uint32_t file_index_;
  const CheckpointLimits& limits_;
  std::vector<TensorEntry> entries_;

  Place place_ = Place::kOutside;
  uint64_t skipped_ = 0;  // open containers that are being skipped
  std::string key_;
  // The entry being read:
  TensorEntry entry_;
  uint64_t elements_ = 1;
  uint64_t offsets_ = 0;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  bool has_dtype_ = false;
  bool has_shape_ = false;
};

// Sorted by position the tensors must fill the buffer exactly: no hole, no overlap, no tail.
void want_tiling(std::vector<TensorEntry>& entries, const SafetensorsHeader& header,
                 const std::string& file_name) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
  });
  uint64_t expected = header.data_begin;
  const TensorEntry* before = nullptr;
  for (const TensorEntry& entry : entries) {
    const uint64_t begin = entry.begin - header.data_begin;
    if (entry.begin > expected) {
      fail(Status::kInvalidModel, file_name, ": bytes ", expected - header.data_begin, " to ",
           begin, " of the data buffer, before tensor ", quote(entry.name),
           ", belong to no tensor");
    }
    if (entry.begin < expected) {
      fail(Status::kInvalidModel, file_name, ": tensor ", quote(entry.name), " begins at byte ",
           begin, " and overlaps tensor ", quote(before != nullptr ? before->name : ""),
           ", which ends at byte ", expected - header.data_begin);
    }
    expected = entry.begin + entry.bytes;
    before = &entry;
  }
  if (expected != header.file_bytes) {
    fail(Status::kInvalidModel, file_name, ": the tensors end at byte ",
         expected - header.data_begin, " of the data buffer, the buffer at byte ",
         header.file_bytes - header.data_begin);
  }
}

uint64_t little_endian(const std::byte* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace

std::string TensorEntry::description() const {
  const std::string dims = rank <= kRankMax ? shape.text() : str("of ", rank, " dimensions");
  return str(dtype ? dtype_name : quote(dtype_name), " ", dims);
}

std::vector<TensorEntry> parse_safetensors_header(const SafetensorsHeader& header,
                                                  const std::string& file_name, uint32_t file_index,
                                                  const CheckpointLimits& limits) {
  DSV3_ASSERT(header.data_begin <= header.file_bytes);
  if (header.json.empty()) {
    fail(Status::kInvalidModel, file_name, ": the header is empty, wanted a JSON object");
  }
  if (header.json.front() != '{') {
    fail(Status::kInvalidModel, file_name, ": the header begins with ",
         quote(header.json.substr(0, 1)), ", wanted \"{\"");
  }
  JsonLimits json_limits;
  json_limits.bytes_max = limits.header_bytes_max;
  json_limits.depth_max = kDepthMax;
  json_limits.values_max = limits.tensors_max * (uint64_t{limits.rank_max} + 8);
  HeaderReader reader(header, file_name, file_index, limits);
  json_scan(header.json, file_name, json_limits, reader);
  std::vector<TensorEntry> entries = reader.take();
  want_tiling(entries, header, file_name);
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  return entries;
}

std::vector<TensorEntry> read_safetensors(SourceFile& file, const std::string& file_name,
                                          uint32_t file_index, const CheckpointLimits& limits) {
  SafetensorsHeader header;
  header.file_bytes = file.size();
  if (header.file_bytes < kPrefixBytes) {
    fail(Status::kInvalidModel, file_name, ": has ", header.file_bytes,
         " bytes, wanted at least 8 for the header's length");
  }
  std::byte prefix[kPrefixBytes];
  file.read(0, prefix, kPrefixBytes);
  const uint64_t bytes = little_endian(prefix);
  if (bytes > limits.header_bytes_max) {
    fail(Status::kInvalidModel, file_name, ": the header's length is ", bytes, ", wanted at most ",
         limits.header_bytes_max);
  }
  if (bytes > header.file_bytes - kPrefixBytes) {
    fail(Status::kInvalidModel, file_name, ": the header's length is ", bytes,
         ", but the file has ", header.file_bytes, " bytes, so wanted at most ",
         header.file_bytes - kPrefixBytes);
  }
  std::string json(bytes, '\0');
  file.read(kPrefixBytes, reinterpret_cast<std::byte*>(json.data()), bytes);
  header.json = json;
  header.data_begin = kPrefixBytes + bytes;
  return parse_safetensors_header(header, file_name, file_index, limits);
}

}  // namespace dsv3
