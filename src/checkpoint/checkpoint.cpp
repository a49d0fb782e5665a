// From index and shards to one sorted list of tensors over open files.
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/json.h"

namespace dsv3 {
namespace {

const char* const kIndexName = "model.safetensors.index.json";
const char* const kSingleName = "model.safetensors";

std::optional<std::string> read_text(FileSource& source, const std::string& name,
                                     uint64_t bytes_max) {
  const auto file = source.open(name);
  if (file == nullptr) return std::nullopt;
  if (file->size() > bytes_max) {
    fail(Status::kLimit, name, ": has ", file->size(), " bytes, wanted at most ", bytes_max);
  }
  std::string text(file->size(), '\0');
  file->read(0, reinterpret_cast<std::byte*>(text.data()), text.size());
  return text;
}

bool name_less(const TensorEntry& entry, std::string_view name) { return entry.name < name; }

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(std::unique_ptr<FileSource> source,
                                             const CheckpointLimits& limits) {
  Opener opener(std::move(source), limits);
  while (!opener.step()) {
  }
  return opener.finish();
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name, name_less);
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

std::optional<std::string> Checkpoint::text_file(const std::string& name,
                                                 uint64_t bytes_max) const {
  return read_text(*source_, name, bytes_max);
}

bool Checkpoint::can_map() const {
  return std::all_of(files_.begin(), files_.end(),
                     [](const auto& file) { return file->map() != nullptr; });
}

void Checkpoint::want_usable(const TensorEntry& entry) const {
  if (!entry.dtype) {
    fail(Status::kUnsupported, file_names_[entry.file], ": tensor ", quote(entry.name),
         " has the unknown dtype ", quote(entry.dtype_name));
  }
  if (entry.rank > kRankMax) {
    fail(Status::kUnsupported, file_names_[entry.file], ": tensor ", quote(entry.name), " has ",
         entry.rank, " dimensions, wanted at most ", kRankMax);
  }
}

TensorView Checkpoint::map_tensor(const TensorEntry& entry) const {
  want_usable(entry);
  const std::byte* const base = files_[entry.file]->map();
  if (base == nullptr) {
    fail(Status::kUnsupported, file_names_[entry.file], ": ", source_->description(),
         " cannot map files; weights must be copied");
  }
  return {base + entry.begin, entry.bytes, *entry.dtype, entry.shape};
}

void Checkpoint::read_tensor(const TensorEntry& entry, std::byte* out) const {
  want_usable(entry);
  read_tensor_range(entry, 0, out, entry.bytes);
}

void Checkpoint::read_tensor_range(const TensorEntry& entry, uint64_t offset, std::byte* out,
                                   uint64_t bytes) const {
  DSV3_ASSERT(offset <= entry.bytes && bytes <= entry.bytes - offset);
  files_[entry.file]->read(entry.begin + offset, out, bytes);
}

void Checkpoint::will_need(const TensorEntry& entry) const {
  files_[entry.file]->will_need(entry.begin, entry.bytes);
}

Checkpoint::Opener::Opener(std::unique_ptr<FileSource> source, const CheckpointLimits& limits)
    : limits_(limits), checkpoint_(new Checkpoint) {
  DSV3_ASSERT(source != nullptr);
  checkpoint_->source_ = std::move(source);
}

Checkpoint::Opener::~Opener() = default;

uint64_t Checkpoint::Opener::steps_total() const {
  return steps_done_ == 0 ? 1 : 1 + checkpoint_->file_names_.size();
}

bool Checkpoint::Opener::step() {
  if (done_) return true;
  if (steps_done_ == 0) {
    const auto index = read_text(*checkpoint_->source_, kIndexName, limits_.index_bytes_max);
    has_index_ = index.has_value();
    if (has_index_) {
      read_index(*index);
    } else {
      checkpoint_->file_names_.emplace_back(kSingleName);
    }
  } else {
    open_shard(static_cast<uint32_t>(steps_done_ - 1));
  }
  ++steps_done_;
  if (steps_done_ == steps_total()) close();
  return done_;
}

// weight_map: tensor name to file name. total_size is informative only and not read (spec §6.2).
void Checkpoint::Opener::read_index(const std::string& text) {
  JsonLimits json_limits;
  json_limits.bytes_max = limits_.index_bytes_max;
  json_limits.values_max = limits_.tensors_max + 4096;
  const JsonDocument document = JsonDocument::parse(text, kIndexName, json_limits);
  const JsonValue weight_map = document.root().object("weight_map");
  if (weight_map.size() == 0) fail(Status::kInvalidModel, kIndexName, ": weight_map is empty");
  if (weight_map.size() > limits_.tensors_max) {
    fail(Status::kLimit, kIndexName, ": weight_map has ", weight_map.size(),
         " tensors, wanted at most ", limits_.tensors_max);
  }
  std::map<std::string_view, std::vector<std::string>> by_file;
  for (uint64_t i = 0; i < weight_map.size(); ++i) {
    const std::string_view tensor = weight_map.key(i);
    const std::string_view file = weight_map.item(i).as_string();
    const std::string_view problem = file_name_problem(file);
    if (!problem.empty()) {
      fail(Status::kInvalidModel, kIndexName, ": tensor ", quote(tensor), " is mapped to file ",
           quote(file), ", which ", problem, ", wanted a plain file name");
    }
    by_file[file].emplace_back(tensor);
  }
  if (by_file.size() > limits_.files_max) {
    fail(Status::kLimit, kIndexName, ": weight_map names ", uint64_t{by_file.size()},
         " files, wanted at most ", limits_.files_max);
  }
  for (auto& [file, names] : by_file) {
    std::sort(names.begin(), names.end());
    checkpoint_->file_names_.emplace_back(file);
    wanted_.push_back(std::move(names));
  }
}

void Checkpoint::Opener::open_shard(uint32_t file) {
  const std::string& file_name = checkpoint_->file_names_[file];
  auto opened = checkpoint_->source_->open(file_name);
  if (opened == nullptr && has_index_) {
    fail(Status::kInvalidModel, checkpoint_->description(), ": shard ", quote(file_name),
         " is missing; ", kIndexName, " maps tensor ", quote(wanted_[file].front()), " to it");
  }
  if (opened == nullptr) {
    fail(Status::kInvalidModel, checkpoint_->description(), ": neither ", kIndexName, " nor ",
         kSingleName, " is there, wanted one of them");
  }
  std::vector<TensorEntry> entries = read_safetensors(*opened, file_name, file, limits_);
  checkpoint_->files_.push_back(std::move(opened));
  std::vector<TensorEntry>& tensors = checkpoint_->tensors_;
  if (!has_index_) {
    tensors = std::move(entries);
    return;
  }
  // The map decides: tensors it gives to another file, or to none, are not visible. Both lists are
  // sorted, and what lies before the last hit has been moved from.
  auto begin = entries.begin();
  for (const std::string& name : wanted_[file]) {
    const auto found = std::lower_bound(begin, entries.end(), name, name_less);
    if (found == entries.end() || found->name != name) {
      fail(Status::kInvalidModel, kIndexName, ": maps tensor ", quote(name), " to file ",
           quote(file_name), ", which does not hold it");
    }
    tensors.push_back(std::move(*found));
    begin = std::next(found);
  }
}

void Checkpoint::Opener::close() {
  std::vector<TensorEntry>& tensors = checkpoint_->tensors_;
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (const TensorEntry& entry : tensors) {
    checkpoint_->bytes_total_ =
        add_or_fail(checkpoint_->bytes_total_, entry.bytes, "bytes of all tensors");
  }
  wanted_.clear();
  done_ = true;
}

std::unique_ptr<Checkpoint> Checkpoint::Opener::finish() {
  DSV3_ASSERT(done_);
  return std::move(checkpoint_);
}

}  // namespace dsv3
