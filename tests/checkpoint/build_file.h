// Test helper: safetensors files and folders made in memory, valid or broken on purpose.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/source.h"

namespace dsv3 {

// Length prefix, header, data: nothing is checked.
inline std::string raw_file(std::string_view json, std::string_view data = "") {
  std::string out;
  for (uint32_t i = 0; i < 8; ++i) {
    out += static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i) & 0xffu);
  }
  return out.append(json).append(data);
}

struct TestTensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string data;
};

// A valid file when each tensor's data fits its dtype and shape; tensors lie in the given order.
inline std::string build_file(const std::vector<TestTensor>& tensors) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const TestTensor& tensor : tensors) {
    json += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      json += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    }
    json += "],\"data_offsets\":[" + std::to_string(data.size()) + ",";
    data += tensor.data;
    json += std::to_string(data.size()) + "]}";
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return raw_file(json, data);
}

using TestFolder = std::map<std::string, std::string>;

// Refers to `folder`, which must stay.
inline std::unique_ptr<MemorySource> memory_source(const TestFolder& folder) {
  std::vector<MemoryFile> files;
  for (const auto& [name, content] : folder) {
    files.push_back({name, content.data(), content.size()});
  }
  return std::make_unique<MemorySource>(files);
}

// Two shards and an index: "a" (F32) and "w" (F8_E4M3) in the first, w's scale in the second.
inline TestFolder sharded_folder() {
  const std::string ones("\0\0\x80\x3f\0\0\x80\x3f", 8);
  TestFolder folder;
  folder["one.safetensors"] =
      build_file({{"a", "F32", {2}, ones}, {"w", "F8_E4M3", {2, 3}, "abcdef"}});
  folder["two.safetensors"] = build_file({{"w_scale_inv", "F32", {1, 1}, ones.substr(4)},
                                          {"b", "BF16", {1}, std::string("\x80\x3f")}});
  folder["model.safetensors.index.json"] = R"({"metadata":{"total_size":0},"weight_map":{
      "w":"one.safetensors","w_scale_inv":"two.safetensors",
      "a":"one.safetensors","b":"two.safetensors"}})";
  return folder;
}

}  // namespace dsv3
