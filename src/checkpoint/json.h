// JSON files of a model (config.json, the index, tokenizer files) as typed values with clear
// errors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/json_scan.h"

namespace dsv3 {

enum class JsonKind : uint8_t {
  kNull,
  kBoolean,
  kInteger,   // fits int64
  kUnsigned,  // above 2^63 - 1
  kNumber,    // fraction, exponent, or an integer of more than 64 bits
  kString,
  kArray,
  kObject,
};

// One value of a JsonDocument; copy freely, valid while the document lives. Every accessor that
// cannot answer throws Error{INVALID_MODEL}: config.json: "rope_scaling.factor" is a string, wanted
// a number.
class JsonValue {
 public:
  JsonKind kind() const;
  bool is_null() const { return kind() == JsonKind::kNull; }
  bool is_string() const { return kind() == JsonKind::kString; }
  bool is_array() const { return kind() == JsonKind::kArray; }
  bool is_object() const { return kind() == JsonKind::kObject; }
  // "config.json: \"rope_scaling.factor\"", the start of a message about this value.
  std::string where() const;

  // The value itself. Integers are strict: 4096.0 is not one.
  bool as_boolean() const;
  int64_t as_int64() const;
  uint64_t as_uint64() const;
  uint32_t as_uint32() const;
  double as_number() const;  // integer or fraction; always finite
  std::string_view as_string() const;
  std::vector<int64_t> as_int_list() const;  // an integer, or an array of integers

  // Arrays and objects, in file order. size() is 0 for all other kinds.
  uint64_t size() const;
  JsonValue item(uint64_t index) const;        // array item or member value
  std::string_view key(uint64_t index) const;  // member name; objects only

  // Members of an object; error when this is no object.
  bool has(std::string_view key) const;                       // present, null included
  bool is_null(std::string_view key) const;                   // absent or null
  std::optional<JsonValue> find(std::string_view key) const;  // empty when absent or null
  JsonValue get(std::string_view key) const;                  // error when absent
  JsonValue object(std::string_view key) const;               // get, and it is an object
  JsonValue array(std::string_view key) const;                // get, and it is an array

  // get(key).as_...()
  bool boolean(std::string_view key) const;
  int64_t int64(std::string_view key) const;
  uint64_t uint64(std::string_view key) const;
  uint32_t uint32(std::string_view key) const;
  double number(std::string_view key) const;
  std::string_view string(std::string_view key) const;
  std::vector<int64_t> int_list(std::string_view key) const;

  // The same with a value for "absent or null"; a member of the wrong type is still an error.
  bool boolean(std::string_view key, bool missing) const;
  int64_t int64(std::string_view key, int64_t missing) const;
  uint64_t uint64(std::string_view key, uint64_t missing) const;
  uint32_t uint32(std::string_view key, uint32_t missing) const;
  double number(std::string_view key, double missing) const;
  std::string_view string(std::string_view key, std::string_view missing) const;

 private:
  friend class JsonDocument;
  struct Data;
  JsonValue(const Data* data, uint32_t node) : data_(data), node_(node) {}
  [[noreturn]] void fail_kind(std::string_view wanted) const;
  void want_object() const;

  const Data* data_;
  uint32_t node_;
};

// A parsed file. Movable; values stay valid across moves.
class JsonDocument {
 public:
  // `file` is used in messages only. Errors of json_scan.
  static JsonDocument parse(std::string_view text, std::string_view file,
                            const JsonLimits& limits = {});
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const { return {data_.get(), 0}; }

 private:
  explicit JsonDocument(std::unique_ptr<const JsonValue::Data> data);
  std::unique_ptr<const JsonValue::Data> data_;
};

}  // namespace dsv3
