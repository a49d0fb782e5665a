#include "model_damage.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

namespace dsv3::test {
namespace {

constexpr uint64_t kLengthBytes = 8;
const char* const kWeights = "model.safetensors";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

uint64_t length_field(const std::string& file) {
  uint64_t value = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    value |= uint64_t{static_cast<uint8_t>(file[i])} << (8 * i);
  }
  return value;
}

std::string length_text(uint64_t value) {
  std::string out;
  for (uint64_t i = 0; i < kLengthBytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xffu);
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool in_number(char c) { return is_digit(c) || std::strchr("+-.eE", c) != nullptr; }

// [begin, end) of the first number outside of names at or behind `from`; empty at the end if none.
std::pair<size_t, size_t> number_at(const std::string& text, size_t from) {
  for (size_t i = std::max<size_t>(from, 1); i < text.size(); ++i) {
    if (!is_digit(text[i]) || std::strchr(":, [-\n", text[i - 1]) == nullptr) continue;
    size_t end = i;
    while (end < text.size() && in_number(text[end])) ++end;
    return {text[i - 1] == '-' ? i - 1 : i, end};
  }
  return {text.size(), text.size()};
}

// [begin, end) of the quoted text whose first quote is at or behind `from`, quotes included.
std::pair<size_t, size_t> string_at(const std::string& text, size_t from) {
  const size_t begin = text.find('"', from);
  const size_t end = begin == std::string::npos ? begin : text.find('"', begin + 1);
  if (end == std::string::npos) return {text.size(), text.size()};
  return {begin, end + 1};
}

}  // namespace

const SampleModel& SampleModel::instance() {
  static const SampleModel model;
  return model;
}

SampleModel::SampleModel() {
  const std::string folder = std::string(DSV3_SAMPLE_MODEL) + "/";
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", kWeights}) {
    files_[name] = read_file(folder + name);
  }
  header_bytes_ = length_field(weights());
  const std::string header = weights().substr(kLengthBytes, header_bytes_);
  for (const char* part :
       {"weight_scale_inv\"", "e_score_correction_bias\"", "layernorm.weight\""}) {
    for (size_t at = header.find(part); at != std::string::npos; at = header.find(part, at + 1)) {
      const std::string entry = header.substr(at, header.find('}', at) - at);
      const size_t offsets = entry.find('[', entry.find("data_offsets"));
      char* rest = nullptr;
      const uint64_t data = kLengthBytes + header_bytes_;
      const uint64_t begin = std::strtoull(entry.c_str() + offsets + 1, &rest, 10);
      const uint64_t end = std::strtoull(rest + 1, nullptr, 10);
      small_tensors_.push_back(
          {data + begin, data + end, entry.find("\"F32\"") != std::string::npos});
    }
  }
}

Damage::Damage(const SampleModel& model, DamageKind kind, uint64_t seed) : random_(seed) {
  for (const auto& [name, content] : model.files()) {
    files_.push_back({name.data(), name.size(), content.data(), content.size()});
  }
  switch (kind) {
    case DamageKind::kNone:
      break;
    case DamageKind::kConfig:
      damage_text(model, "config.json");
      break;
    case DamageKind::kGenerationConfig:
      damage_text(model, "generation_config.json");
      break;
    case DamageKind::kHeader:
      damage_header(model);
      break;
    case DamageKind::kHeaderLength:
      damage_header_length(model);
      break;
    case DamageKind::kTokenizer:
      damage_text(model, "tokenizer.json");
      break;
    case DamageKind::kTokenizerConfig:
      damage_text(model, "tokenizer_config.json");
      break;
    case DamageKind::kTensorData: {
      std::vector<char>& weights = set_weights({model.weights()});
      flip_bits(weights.data(), kLengthBytes + model.header_bytes(), weights.size());
      break;
    }
    case DamageKind::kSmallTensors:
      damage_small_tensors(model);
      break;
    case DamageKind::kWholeFiles:
      damage_whole_files(model);
      break;
    case DamageKind::kMisaligned:
      misalign(model, seed % 8 | 1u);
      break;
  }
}

void Damage::set_file(const std::string& name, const std::string& content) {
  std::vector<char>& bytes = changed_[name];
  bytes = std::vector<char>(content.begin(), content.end());
  for (dsv3_file& file : files_) {
    if (std::string(file.name, file.name_bytes) != name) continue;
    file.data = bytes.data();
    file.data_bytes = bytes.size();
    return;
  }
  const std::string& kept_name = changed_.find(name)->first;
  files_.push_back({kept_name.data(), kept_name.size(), bytes.data(), bytes.size()});
}

// Once, without a copy in between: the file is large.
std::vector<char>& Damage::set_weights(const std::vector<std::string_view>& parts) {
  uint64_t total = 0;
  for (const std::string_view part : parts) total += part.size();
  std::vector<char>& bytes = changed_[kWeights];
  bytes.reserve(total);
  for (const std::string_view part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
  for (dsv3_file& file : files_) {
    if (std::string(file.name, file.name_bytes) != kWeights) continue;
    file.data = bytes.data();
    file.data_bytes = bytes.size();
  }
  return bytes;
}

void Damage::remove_file(const std::string& name) {
  files_.erase(std::remove_if(files_.begin(), files_.end(),
                              [&](const dsv3_file& file) {
                                return std::string(file.name, file.name_bytes) == name;
                              }),
               files_.end());
  note("without " + name);
}

void Damage::cut(std::string& text) {
  text.resize(below(text.size()));
  note("cut to " + std::to_string(text.size()));
}

void Damage::flip_bits(char* bytes, uint64_t begin, uint64_t end) {
  for (uint64_t left = 1 + below(8); left > 0; --left) {
    const uint64_t at = begin + below(end - begin);
    const uint64_t bit = below(8);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
    note("bit " + std::to_string(bit) + " of byte " + std::to_string(at));
  }
}

// Overwrites, inserts or removes up to 64 bytes that stand elsewhere in the text.
void Damage::splice(std::string& text) {
  const uint64_t from = below(text.size());
  const uint64_t to = below(text.size());
  const uint64_t bytes = 1 + below(64);
  const std::string piece = text.substr(from, bytes);
  const uint64_t way = below(3);
  text.replace(to, way == 0 ? 0 : piece.size(), way == 2 ? "" : piece);
  note("splice " + std::to_string(way) + " of " + std::to_string(bytes) + " bytes from " +
       std::to_string(from) + " to " + std::to_string(to));
}

void Damage::replace_number(std::string& text) {
  static const char* const kOthers[] = {"0",
                                        "-1",
                                        "1",
                                        "2",
                                        "3",
                                        "255",
                                        "65536",
                                        "2147483647",
                                        "2147483648",
                                        "4294967295",
                                        "4294967296",
                                        "1048576",
                                        "16777216",
                                        "-2147483648",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "18446744073709551615",
                                        "99999999999999999999",
                                        "1.5",
                                        "-0.0",
                                        "1e308",
                                        "1e-308",
                                        "1e999",
                                        "1e39",
                                        "1e-46",
                                        "0.0001",
                                        "null",
                                        "true",
                                        "\"7\"",
                                        "[]",
                                        "{}",
                                        "[1,2]",
                                        ""};
  const auto [begin, end] = number_at(text, below(text.size()));
  const std::string old = text.substr(begin, end - begin);
  std::string other = kOthers[below(std::size(kOthers))];
  if (below(4) == 0)
    other =
        std::to_string(std::strtoll(old.c_str(), nullptr, 10) + static_cast<int64_t>(below(5)) - 2);
  text.replace(begin, end - begin, other);
  note("number " + old + " at " + std::to_string(begin) + " -> " + other);
}

void Damage::replace_string(std::string& text) {
  const auto [begin, end] = string_at(text, below(text.size()));
  const std::string old = text.substr(begin, end - begin);
  const std::string others[] = {"\"\"",         "\"" + std::string(5000, 'A') + "\"",
                                "\"\\u0000\"",  "\"\\ud800\"",
                                "\"\xc0\x80\"", "\"../../etc/passwd\"",
                                "17",           "null",
                                "[\"x\"]",      "{\"x\":1}",
                                "\"F64\"",      "\"BF16\"",
                                "\"F8_E5M2\"",  "\"yarn\""};
  const std::string& other = others[below(std::size(others))];
  text.replace(begin, end - begin, other);
  note("string " + old + " at " + std::to_string(begin) + " -> " + other.substr(0, 40));
}

void Damage::swap_strings(std::string& text) {
  auto first = string_at(text, below(text.size()));
  auto second = string_at(text, below(text.size()));
  if (second < first) std::swap(first, second);
  if (second.first < first.second) return;
  const std::string a = text.substr(first.first, first.second - first.first);
  const std::string b = text.substr(second.first, second.second - second.first);
  text.replace(second.first, b.size(), a);
  text.replace(first.first, a.size(), b);
  note("swap " + a + " with " + b);
}

// Removes or doubles what stands between two commas.
void Damage::move_member(std::string& text) {
  const size_t begin = text.find(',', below(text.size()));
  const size_t end = begin == std::string::npos ? begin : text.find(',', begin + 1);
  if (end == std::string::npos) return;
  const std::string member = text.substr(begin, end - begin);
  const bool twice = below(2) == 0;
  text.replace(begin, member.size(), twice ? member + member : "");
  note((twice ? "double " : "drop ") + member.substr(0, 60));
}

void Damage::nest(std::string& text) {
  const auto [begin, end] = number_at(text, below(text.size()));
  const uint64_t depth = 1 + below(below(4) == 0 ? 100000 : 70);
  text.insert(end, std::string(depth, ']'));
  text.insert(begin, std::string(depth, '['));
  note("nest " + std::to_string(depth) + " deep at " + std::to_string(begin));
}

void Damage::edit(std::string& text) {
  if (text.empty()) return;
  switch (below(12)) {
    case 0:
      return cut(text);
    case 1:
    case 2:
      return flip_bits(text.data(), 0, text.size());
    case 3:
      return splice(text);
    case 4:
    case 5:
      return replace_string(text);
    case 6:
      return swap_strings(text);
    case 7:
      return move_member(text);
    case 8:
      return nest(text);
    default:
      return replace_number(text);
  }
}

void Damage::damage_text(const SampleModel& model, const std::string& name) {
  std::string text = model.files().at(name);
  for (uint64_t left = 1 + below(2); left > 0; --left) edit(text);
  set_file(name, text);
}

void Damage::damage_header(const SampleModel& model) {
  std::string header = model.weights().substr(kLengthBytes, model.header_bytes());
  for (uint64_t left = 1 + below(2); left > 0; --left) edit(header);
  if (below(2) == 0) header.resize((header.size() + 7) / 8 * 8, ' ');
  set_weights({length_text(header.size()), header,
               std::string_view(model.weights()).substr(kLengthBytes + model.header_bytes())});
}

void Damage::damage_header_length(const SampleModel& model) {
  uint64_t length = model.header_bytes();
  switch (below(4)) {
    case 0:
      length += below(33) - 16;
      break;
    case 1:
      length = below(model.weights().size() * 2);
      break;
    case 2:
      length = std::numeric_limits<uint64_t>::max() - below(16);
      break;
    default:
      length ^= uint64_t{1} << below(64);
  }
  note("length " + std::to_string(length));
  set_weights({length_text(length), std::string_view(model.weights()).substr(kLengthBytes)});
}

void Damage::damage_small_tensors(const SampleModel& model) {
  constexpr uint32_t kFloats[] = {0x7fc00000u, 0x7f800000u, 0xff800000u, 0xbf800000u, 0u,
                                  0x80000000u, 1u,          0x7f7fffffu, 0x7149f2cau};
  std::vector<char>& weights = set_weights({model.weights()});
  const SampleModel::Range& range = model.small_tensors()[below(model.small_tensors().size())];
  const uint64_t size = range.is_f32 ? 4 : 2;
  const uint64_t at = range.begin + below((range.end - range.begin) / size) * size;
  const uint32_t bits = kFloats[below(std::size(kFloats))];
  for (uint64_t i = 0; i < size; ++i) {
    weights[at + i] = static_cast<char>(bits >> (8 * (4 - size + i)) & 0xffu);
  }
  note("float bits " + std::to_string(bits) + " at byte " + std::to_string(at));
}

void Damage::damage_whole_files(const SampleModel& model) {
  const auto any_name = [&] { return std::next(model.files().begin(), below(5))->first; };
  const std::string name = any_name();
  const std::string index = "model.safetensors.index.json";
  switch (below(8)) {
    case 0:
      return remove_file(name);
    case 1:
      note("empty " + name);
      return set_file(name, "");
    case 2: {
      const std::string other = any_name();
      note(name + " holds " + other);
      return set_file(name, model.files().at(other));
    }
    case 3:
      note("more behind " + name);
      return set_file(name, model.files().at(name) + std::string(1 + below(9), ' '));
    case 4:
      note("an index of two tensors");
      return set_file(index, R"({"weight_map":{"model.norm.weight":")" + name +
                                 R"(","lm_head.weight":"model.safetensors"}})");
    case 5:
      note("a chat template of noise");
      return set_file("chat_template.jinja", model.weights().substr(below(1u << 20), 1u << 16));
    case 6:
      note("an index like " + name);
      return set_file(index, model.files().at(name));
    default: {
      std::string text = model.files().at(name);
      cut(text);
      note(name);
      return set_file(name, text);
    }
  }
}

void Damage::misalign(const SampleModel& model, uint64_t offset) {
  set_weights({std::string(offset, '\0'), model.weights()});
  for (dsv3_file& file : files_) {
    if (std::string(file.name, file.name_bytes) != kWeights) continue;
    file.data = static_cast<const char*>(file.data) + offset;
    file.data_bytes -= offset;
  }
  note("at an address plus " + std::to_string(offset));
}

}  // namespace dsv3::test
