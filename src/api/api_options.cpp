#include "api/api_options.h"

#include <algorithm>
#include <string_view>

#include "api/api_structs.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

constexpr uint32_t kSequencesMax = 65535;  // the slot part of a sequence id
constexpr uint32_t kStepTokensMax = 65536;
constexpr uint32_t kSequencesDefault = 16;
constexpr uint32_t kStepTokensDefault = 256;
constexpr uint64_t kPathBytesMax = 65536;
constexpr uint64_t kFilesMax = 100'000;
constexpr uint64_t kDevicesMax = 64;

[[noreturn]] void fail_unsupported(const char* option, int64_t found, const char* wanted) {
  fail(Status::kUnsupported, option, " is ", found, ", this version supports ", wanted);
}

// A value out of an enum: INVALID_ARGUMENT beyond it.
void want_range(const char* option, int64_t found, int64_t low, int64_t high) {
  if (found < low || found > high) {
    fail(Status::kInvalidArgument, option, " is ", found, ", wanted ", low, " to ", high);
  }
}

// Options of later versions: present, zero, and refused by name otherwise.
void want_zero(const char* option, uint64_t found) {
  if (found != 0) fail(Status::kUnsupported, option, " is ", found, ", this version supports 0");
}

void parse_path(const dsv3_context_options& options, ContextOptions* out) {
  if (options.model_path == nullptr || options.model_path_bytes == 0) {
    fail(Status::kInvalidArgument, "model_path is empty, wanted a folder");
  }
  if (options.model_path_bytes > kPathBytesMax) {
    fail(Status::kLimit, "model_path_bytes is ", options.model_path_bytes, ", wanted at most ",
         kPathBytesMax);
  }
  out->model_path.assign(options.model_path, options.model_path_bytes);
  if (out->model_path.find('\0') != std::string::npos) {
    fail(Status::kInvalidArgument, "model_path has a zero byte at ",
         static_cast<uint64_t>(out->model_path.find('\0')), ", wanted none");
  }
  if (const auto bad = utf8_first_invalid(out->model_path); bad.has_value()) {
    fail(Status::kInvalidArgument, "model_path is not UTF-8 at byte ", static_cast<uint64_t>(*bad));
  }
}

void parse_files(const dsv3_context_options& options, ContextOptions* out) {
  if (options.file_count > kFilesMax) {
    fail(Status::kLimit, "file_count is ", options.file_count, ", wanted at most ", kFilesMax);
  }
  if (options.files == nullptr) {
    fail(Status::kInvalidArgument, "files is NULL and file_count is ", options.file_count);
  }
  out->file_names.reserve(options.file_count);
  out->memory_files.reserve(options.file_count);
  for (uint64_t i = 0; i < options.file_count; ++i) {
    const dsv3_file& file = options.files[i];
    if (file.name == nullptr || file.name_bytes > kPathBytesMax) {
      fail(Status::kInvalidArgument, "files[", i, "].name is NULL or too long");
    }
    if (file.data == nullptr && file.data_bytes != 0) {
      fail(Status::kInvalidArgument, "files[", i, "].data is NULL and data_bytes is ",
           file.data_bytes);
    }
    out->file_names.emplace_back(file.name, file.name_bytes);
    out->memory_files.push_back(
        {.name = out->file_names.back(), .data = file.data, .bytes = file.data_bytes});
  }
}

void parse_source(const dsv3_context_options& options, ContextOptions* out) {
  const int sources = (options.model_path != nullptr || options.model_path_bytes != 0 ? 1 : 0) +
                      (options.io != nullptr ? 1 : 0) +
                      (options.files != nullptr || options.file_count != 0 ? 1 : 0);
  if (sources != 1) {
    fail(Status::kInvalidArgument, sources,
         " model sources are set, wanted one of model_path, io and files");
  }
  want_range("weights", options.weights, DSV3_WEIGHTS_MAP, DSV3_WEIGHTS_COPY);
  want_range("follow_links", options.follow_links, 0, 1);
  out->follow_links = options.follow_links != 0;
  out->model.weights.map = options.weights == DSV3_WEIGHTS_MAP;
  if (options.io != nullptr) {
    out->source = ModelSource::kIo;
    // Without a map function there is nothing to use in place.
    if (read_struct(options.io, "dsv3_io").map == nullptr) out->model.weights.map = false;
  } else if (options.files != nullptr || options.file_count != 0) {
    out->source = ModelSource::kMemory;
    parse_files(options, out);
  } else {
    out->source = ModelSource::kFolder;
    parse_path(options, out);
  }
}

void parse_devices(const dsv3_context_options& options, ContextOptions* out) {
  if (options.device_count > kDevicesMax) {
    fail(Status::kLimit, "device_count is ", options.device_count, ", wanted at most ",
         kDevicesMax);
  }
  if (options.device_count == 0) return;
  if (options.devices == nullptr) {
    fail(Status::kInvalidArgument, "devices is NULL and device_count is ", options.device_count);
  }
  const auto device =
      read_struct<dsv3_device>(options.devices, options.devices->struct_size, "dsv3_device");
  want_zero("devices[0].reserved", device.reserved);
  want_range("devices[0].kind", device.kind, DSV3_DEVICE_CPU, DSV3_DEVICE_CUDA);
  if (device.kind == DSV3_DEVICE_CPU && device.ordinal != 0) {
    fail(Status::kInvalidArgument, "devices[0].ordinal is ", device.ordinal,
         ", wanted 0 for the CPU");
  }
  want_range("devices[0].ordinal", device.ordinal, 0, INT32_MAX);
  if (options.device_count > 1) {
    fail_unsupported("device_count", static_cast<int64_t>(options.device_count), "1");
  }
  out->device = device.kind;
  out->device_ordinal = device.ordinal;
  out->ceiling_bytes = device.bytes_max;
}

void parse_cpu_level(int32_t asked, ContextOptions* out) {
  want_range("cpu_level", asked, DSV3_CPU_LEVEL_BEST, DSV3_CPU_LEVEL_AVX512);
  const CpuLevel best = cpu_level_best();
  out->cpu_level = asked == DSV3_CPU_LEVEL_BEST ? best : static_cast<CpuLevel>(asked - 1);
  if (out->cpu_level > best) {
    fail(Status::kUnsupported, "cpu_level is ", cpu_level_name(out->cpu_level),
         ", this processor has ", cpu_level_name(best));
  }
}

void parse_sizes(const dsv3_context_options& options, ContextOptions* out) {
  ModelSizes& sizes = out->model.sizes;
  sizes.slots = options.sequences_max == 0 ? kSequencesDefault : options.sequences_max;
  sizes.rows_max = options.step_tokens_max == 0 ? kStepTokensDefault : options.step_tokens_max;
  sizes.cache_tokens = options.cache_tokens;
  sizes.cache_bytes = options.cache_bytes;
  if (sizes.slots > kSequencesMax) {
    fail(Status::kLimit, "sequences_max is ", sizes.slots, ", wanted at most ", kSequencesMax);
  }
  if (sizes.rows_max > kStepTokensMax) {
    fail(Status::kLimit, "step_tokens_max is ", sizes.rows_max, ", wanted at most ",
         kStepTokensMax);
  }
  if (sizes.cache_tokens != 0 && sizes.cache_bytes != 0) {
    fail(Status::kInvalidArgument, "cache_tokens is ", sizes.cache_tokens, " and cache_bytes is ",
         sizes.cache_bytes, ", wanted one of them");
  }
}

void parse_numerics(const dsv3_context_options& options, ContextOptions* out) {
  want_range("weight_dtype", options.weight_dtype, DSV3_DTYPE_AUTO, DSV3_DTYPE_F8_E4M3);
  if (options.weight_dtype != DSV3_DTYPE_AUTO) {
    fail_unsupported("weight_dtype", options.weight_dtype, "DSV3_DTYPE_AUTO (0)");
  }
  want_range("cache_dtype", options.cache_dtype, DSV3_DTYPE_AUTO, DSV3_DTYPE_F8_E4M3);
  if (options.cache_dtype == DSV3_DTYPE_BF16) out->model.sizes.cache_dtype = DType::kBF16;
  if (options.cache_dtype == DSV3_DTYPE_F32) out->model.sizes.cache_dtype = DType::kF32;
  if (options.cache_dtype == DSV3_DTYPE_F8_E4M3) out->model.sizes.cache_dtype = DType::kF8E4M3;
  want_range("activation_quant", options.activation_quant, DSV3_ACTIVATION_QUANT_NONE,
             DSV3_ACTIVATION_QUANT_1X128);
  out->activation_quant = static_cast<ActivationQuant>(options.activation_quant);
  want_range("gpu_priority", options.gpu_priority, 0, 1);
  out->gpu_high_priority = options.gpu_priority == 1;
  want_range("speculation", options.speculation, DSV3_SPECULATION_OFF, INT32_MAX);
  if (options.speculation > 0) {
    fail_unsupported("speculation", options.speculation, "AUTO (0) and OFF (-1)");
  }
  want_range("determinism", options.determinism, DSV3_DETERMINISM_STRICT, DSV3_DETERMINISM_FAST);
  want_range("out_of_pages", options.out_of_pages, DSV3_OUT_OF_PAGES_PREEMPT,
             DSV3_OUT_OF_PAGES_LIMIT);
  out->out_of_pages = static_cast<OutOfPagesPolicy>(options.out_of_pages);
}

void parse_later(const dsv3_context_options& options) {
  want_zero("host_expert_bytes", options.host_expert_bytes);
  want_zero("gpu_sm_percent", options.gpu_sm_percent);
  if (options.world > 1) fail_unsupported("world", options.world, "0 and 1 (one rank)");
  want_zero("rank", options.rank);
  want_zero("comm_id_bytes", options.comm_id_bytes);
  if (options.comm_id != nullptr) {
    fail(Status::kUnsupported, "comm_id is set, this version supports NULL");
  }
}

void parse_limits(const dsv3_context_options& options, ContextOptions* out) {
  CheckpointLimits& limits = out->model.limits;
  if (options.tensors_max != 0) limits.tensors_max = options.tensors_max;
  if (options.json_bytes_max == 0) return;
  out->json_bytes_max = options.json_bytes_max;
  limits.header_bytes_max = std::min(limits.header_bytes_max, options.json_bytes_max);
  limits.index_bytes_max = std::min(limits.index_bytes_max, options.json_bytes_max);
  out->model.text_file_bytes_max = std::min(out->model.text_file_bytes_max, options.json_bytes_max);
}

}  // namespace

void parse_context_options(const dsv3_context_options& options, ContextOptions* out) {
  parse_devices(options, out);
  parse_source(options, out);
  parse_cpu_level(options.cpu_level, out);
  parse_sizes(options, out);
  parse_numerics(options, out);
  parse_limits(options, out);
  parse_later(options);
}

}  // namespace dsv3
