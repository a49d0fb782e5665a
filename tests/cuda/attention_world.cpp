// Host bytes that imitate checkpoint and cache, and the oracle that rounds where the kernels do.
#include "cuda/attention_world.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "base/random.h"

namespace dsv3::attention_test {
namespace {

constexpr double kHalfUlp = 0x1p-8;  // of BF16, relative

double rounded(double value, DType act) {
  const auto number = static_cast<float>(value);
  return static_cast<double>(act == DType::kBF16 ? bf16_round(number) : number);
}

uint16_t f16_bits(double value) {  // normal numbers, toward zero
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  const uint32_t sign = bits >> 16 & 0x8000u;
  const int exponent = static_cast<int>(bits >> 23 & 0xffu) - 112;
  if (exponent <= 0) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent) << 10 |
                               (bits >> 13 & 0x3ffu));
}

}  // namespace

uint64_t Numbers::bits() { return mix64(state_ += 0x9e3779b97f4a7c15ull); }

double Numbers::normal() {
  double sum = -2.0;
  for (int i = 0; i < 4; ++i) sum += static_cast<double>(bits() >> 11) * 0x1p-53;
  return sum * std::sqrt(3.0);
}

Gpu::Gpu(const OpsLimits& limits, ActivationQuant quant)
    : machine_(make_cuda_machine({.activation_quant = quant}, host_)) {
  machine_.ops->reserve(limits);
}

std::byte* Gpu::upload(const void* data, uint64_t bytes) {
  blocks_.push_back(device().allocate(bytes, "test"));
  device().copy_to_device(blocks_.back().data(), data, bytes);
  device().synchronize();
  return blocks_.back().data();
}

void Gpu::copy_to(void* to, const Bytes& bytes) {
  device().copy_to_device(to, bytes.data(), bytes.size());
  device().synchronize();
}

Bytes Gpu::download(const void* from, uint64_t bytes) {
  Bytes result(bytes);
  device().copy_to_host(result.data(), from, bytes);
  device().synchronize();
  return result;
}

Table::Table(DType dtype_in, uint32_t rows_in, uint32_t cols_in)
    : dtype(dtype_in), rows(rows_in), cols(cols_in) {
  const uint32_t element = dtype_bits(dtype) / 8;
  stride = ceil_div(cols * element, 16u) * 16 / element;
  bytes.resize(rows * row_bytes());
  if (dtype != DType::kF8E4M3) return;
  scales.resize(size_t{ceil_div(rows, kBlock)} * ceil_div(cols, kBlock), 1.0f);
}

uint64_t Table::row_bytes() const { return stride * (dtype_bits(dtype) / 8); }

void Table::set(uint32_t row, uint32_t col, double value) {
  const auto number = static_cast<float>(value);
  std::byte* at = bytes.data() + row * row_bytes() + uint64_t{col} * (dtype_bits(dtype) / 8);
  if (dtype == DType::kF32) {
    std::memcpy(at, &number, 4);
  } else if (dtype == DType::kF8E4M3) {
    *at = std::byte{e4m3_from_float(number)};
  } else {
    const uint16_t bits = dtype == DType::kBF16 ? bf16_from_float(number) : f16_bits(value);
    std::memcpy(at, &bits, 2);
  }
}

double Table::get(uint32_t row, uint32_t col) const {
  const std::byte* at = bytes.data() + row * row_bytes() + uint64_t{col} * (dtype_bits(dtype) / 8);
  float number = 0.0f;
  uint16_t bits = 0;
  if (dtype == DType::kF32) {
    std::memcpy(&number, at, 4);
  } else if (dtype == DType::kF8E4M3) {
    const size_t block = size_t{row} / kBlock * ceil_div(cols, kBlock) + col / kBlock;
    return static_cast<double>(e4m3_to_float(std::to_integer<uint8_t>(*at))) *
           static_cast<double>(scales[block]);
  } else {
    std::memcpy(&bits, at, 2);
    number = dtype == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
  }
  return static_cast<double>(number);
}

void Table::fill(Numbers& numbers, double magnitude) {
  const bool is_f8 = dtype == DType::kF8E4M3;
  for (float& scale : scales) {
    scale = static_cast<float>(magnitude * (0.5 + numbers.below(100) / 100.0) / 40.0);
  }
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < cols; ++c) set(r, c, numbers.normal() * (is_f8 ? 40.0 : magnitude));
  }
}

void quantise_latents(const Values& latents, std::vector<uint8_t>& codes,
                      std::vector<float>& scales) {
  codes.assign(latents.size(), 0);
  scales.clear();
  for (size_t begin = 0; begin < latents.size(); begin += kBlock) {
    const size_t end = std::min(latents.size(), begin + kBlock);
    double amax = 1e-4;
    for (size_t i = begin; i < end; ++i) amax = std::max(amax, std::fabs(latents[i]));
    const double scale = std::exp2(std::ceil(std::log2(amax / 448.0)));
    scales.push_back(static_cast<float>(scale));
    for (size_t i = begin; i < end; ++i) {
      codes[i] = e4m3_from_float(static_cast<float>(latents[i] / scale));
    }
  }
}

OpsLimits limits_of(const MlaShape& shape, DType act, uint32_t rows_max, uint32_t positions_max) {
  OpsLimits limits;
  limits.rows_max = rows_max;
  limits.sample_rows_max = 1;
  limits.positions_max = positions_max;
  limits.linear_in_max = 512;
  limits.expert_rows_max = 1;
  limits.experts_max = 1;
  limits.vocab = 16;
  limits.expert_width_max = 16;
  limits.act = act;
  limits.mla = shape;
  return limits;
}

World::World(const MlaShape& shape, const Kinds& kinds, const std::vector<uint32_t>& keys,
             uint64_t seed)
    : shape_(shape),
      kinds_(kinds),
      kv_b_(kinds.weight, shape.heads * (shape.nope_dim + shape.value_dim), shape.latent_rank),
      scale_(static_cast<float>(1.7 / std::sqrt(shape.nope_dim + shape.rope_dim))) {
  Numbers numbers(seed);
  kv_b_.fill(numbers, 1.0 / std::sqrt(shape.latent_rank));
  for (uint32_t r = 0; r < kv_b_.rows; ++r) {
    for (uint32_t c = 0; c < kv_b_.cols; ++c) weights_.push_back(kv_b_.get(r, c));
  }
  std::vector<int32_t> free;
  for (const uint32_t count : keys) {
    for (uint32_t i = 0; i <= count / kPageTokens; ++i) {
      free.push_back(static_cast<int32_t>(free.size()));
    }
  }
  for (size_t i = free.size(); i > 1; --i) {
    std::swap(free[i - 1], free[numbers.below(static_cast<uint32_t>(i))]);
  }
  cache_.assign(free.size() * page_bytes(), std::byte{0xff});
  for (const uint32_t count : keys) {
    const auto pages = std::ptrdiff_t{count / kPageTokens} + 1;
    make_sequence(numbers, count, {free.end() - pages, free.end()});
    free.erase(free.end() - pages, free.end());
  }
}

uint64_t World::page_bytes() const {
  const uint64_t width = shape_.latent_rank + shape_.rope_dim;
  if (kinds_.pages != DType::kF8E4M3) return width * kPageTokens * dtype_bits(kinds_.pages) / 8;
  const uint64_t row = shape_.latent_rank + uint64_t{2} * shape_.rope_dim +
                       uint64_t{4} * ceil_div(shape_.latent_rank, kBlock);
  return row * kPageTokens;
}

void World::make_sequence(Numbers& numbers, uint32_t keys, std::vector<int32_t> table) {
  const uint32_t width = shape_.latent_rank + shape_.rope_dim;
  Table queries(kinds_.act, keys, shape_.heads * (shape_.nope_dim + shape_.rope_dim));
  queries.fill(numbers, 1.0);
  Sequence sequence;
  sequence.keys = keys;
  sequence.table = std::move(table);
  sequence.queries = std::move(queries);
  for (uint32_t key = 0; key < keys; ++key) {
    Values values;
    for (uint32_t c = 0; c < width; ++c) {
      const double magnitude = c % (2 * kBlock) < kBlock ? 1.0 : 0.3;  // scales of F8 differ
      values.push_back(rounded(magnitude * numbers.normal(), kinds_.act));
    }
    store(sequence, key, values);
    sequence.cache.insert(sequence.cache.end(), values.begin(), values.end());
  }
  sequences_.push_back(std::move(sequence));
}

// Writes a row to its page and leaves in `values` what is stored.
void World::store(const Sequence& sequence, uint32_t position, Values& values) {
  const size_t slot = position % kPageTokens;
  const uint32_t rank = shape_.latent_rank;
  const auto page = static_cast<size_t>(sequence.table[position / kPageTokens]);
  std::byte* base = cache_.data() + page * page_bytes();
  if (kinds_.pages != DType::kF8E4M3) {
    Table row(kinds_.pages, 1, rank + shape_.rope_dim);
    for (uint32_t c = 0; c < row.cols; ++c) row.set(0, c, values[c]);
    const size_t bytes = row.cols * size_t{dtype_bits(row.dtype) / 8};
    std::memcpy(base + slot * bytes, row.bytes.data(), bytes);
    return;
  }
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  quantise_latents({values.begin(), values.begin() + rank}, codes, scales);
  Table rope(DType::kBF16, 1, shape_.rope_dim);
  for (uint32_t c = 0; c < shape_.rope_dim; ++c) rope.set(0, c, values[rank + c]);
  const size_t rope_bytes = size_t{2} * shape_.rope_dim;
  const size_t scale_bytes = scales.size() * sizeof(float);
  std::memcpy(base + slot * rank, codes.data(), rank);
  std::memcpy(base + size_t{kPageTokens} * rank + slot * rope_bytes, rope.bytes.data(), rope_bytes);
  std::memcpy(base + kPageTokens * (rank + rope_bytes) + slot * scale_bytes, scales.data(),
              scale_bytes);
  for (uint32_t c = 0; c < rank; ++c) {
    values[c] = static_cast<double>(e4m3_to_float(codes[c]) * scales[c / kBlock]);
  }
}

void World::poison(uint32_t sequence, uint32_t position) {
  Values values(shape_.latent_rank + shape_.rope_dim, std::nan(""));
  store(sequences_[sequence], position, values);
}

std::vector<BatchSpan> World::spans_of(const std::vector<Part>& parts) const {
  std::vector<BatchSpan> spans;
  uint32_t rows = 0;
  for (const Part& part : parts) {
    spans.push_back({.row_begin = rows,
                     .row_count = part.rows,
                     .position_begin = part.position,
                     .form = part.form,
                     .pages = sequences_[part.sequence].device_table});
    rows += part.rows;
  }
  return spans;
}

Bytes World::query_rows(const std::vector<Part>& parts) const {
  Bytes rows;
  for (const Part& part : parts) {
    const Table& queries = sequences_[part.sequence].queries;
    const auto bytes = static_cast<std::ptrdiff_t>(queries.row_bytes());
    const auto begin = queries.bytes.begin() + part.position * bytes;
    rows.insert(rows.end(), begin, begin + part.rows * bytes);
  }
  return rows;
}

MlaAttendArgs World::place(Gpu& gpu, const std::vector<Part>& parts) {
  for (Sequence& sequence : sequences_) sequence.device_table = gpu.upload(sequence.table);
  host_spans_ = spans_of(parts);
  const Bytes queries = query_rows(parts);
  std::vector<uint32_t> row_spans;
  uint32_t unabsorbed = 0;
  for (uint32_t s = 0; s < parts.size(); ++s) {
    row_spans.insert(row_spans.end(), parts[s].rows, s);
    if (parts[s].form == AttentionForm::kUnabsorbed) unabsorbed += parts[s].rows;
  }
  const auto rows = static_cast<uint32_t>(row_spans.size());
  const Table& table = sequences_[0].queries;
  const Table out(kinds_.act, rows, shape_.heads * shape_.value_dim);
  MlaAttendArgs args;
  args.shape = shape_;
  args.batch = {.rows = rows,
                .spans = gpu.upload(host_spans_),
                .span_count = static_cast<uint32_t>(parts.size()),
                .row_spans = gpu.upload(row_spans),
                .unabsorbed_rows = unabsorbed,
                .host_spans = host_spans_.data()};
  args.q = {gpu.upload(queries), kinds_.act, rows, table.cols, table.stride};
  args.kv_b = {.data = gpu.upload(kv_b_.bytes),
               .dtype = kv_b_.dtype,
               .rows = kv_b_.rows,
               .cols = kv_b_.cols,
               .stride = kv_b_.stride};
  if (!kv_b_.scales.empty()) {
    args.kv_b.scales = gpu.upload(kv_b_.scales);
    args.kv_b.scale_stride = ceil_div(kv_b_.cols, kBlock);
  }
  const bool is_f8 = kinds_.pages == DType::kF8E4M3;
  args.pages = {
      .data = gpu.upload(cache_),
      .dtype = kinds_.pages,
      .page_count = static_cast<uint32_t>(cache_.size() / page_bytes()),
      .width = shape_.latent_rank + shape_.rope_dim,
      .page_stride = is_f8 ? page_bytes() : page_bytes() / (dtype_bits(kinds_.pages) / 8)};
  args.scale = scale_;
  args.out = {gpu.upload(out.bytes), kinds_.act, rows, out.cols, out.stride};
  return args;
}

void World::set_parts(Gpu& gpu, const MlaAttendArgs& args, const std::vector<Part>& parts) {
  host_spans_ = spans_of(parts);
  Bytes spans(host_spans_.size() * sizeof(BatchSpan));
  std::memcpy(spans.data(), host_spans_.data(), spans.size());
  gpu.copy_to(const_cast<BatchSpan*>(args.batch.spans), spans);
  gpu.copy_to(const_cast<void*>(args.q.data), query_rows(parts));
}

std::vector<Bytes> World::rows_of(Gpu& gpu, const MlaAttendArgs& args) const {
  const uint64_t element = dtype_bits(kinds_.act) / 8;
  const auto all = gpu.download(args.out.data, args.out.rows * args.out.stride * element);
  std::vector<Bytes> rows;
  for (uint32_t r = 0; r < args.out.rows; ++r) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(r * args.out.stride * element);
    rows.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(args.out.cols * element));
  }
  return rows;
}

std::vector<Bytes> World::attend(Gpu& gpu, const std::vector<Part>& parts) {
  const MlaAttendArgs args = place(gpu, parts);
  gpu.ops().mla_attend(args);
  return rows_of(gpu, args);
}

Values World::values_of(const Bytes& row) const {
  Table table(kinds_.act, 1, shape_.heads * shape_.value_dim);
  std::copy(row.begin(), row.end(), table.bytes.begin());
  Values values;
  for (uint32_t c = 0; c < table.cols; ++c) values.push_back(table.get(0, c));
  return values;
}

bool World::on_tensor_cores(AttentionForm form) const {
  if (kinds_.act != DType::kBF16) return false;
  if (form == AttentionForm::kAbsorbed) return shape_.latent_rank == 512 && shape_.rope_dim == 64;
  return shape_.nope_dim % 8 == 0 && shape_.rope_dim % 8 == 0 && shape_.value_dim % 8 == 0 &&
         shape_.latent_rank % 8 == 0 && shape_.nope_dim + shape_.rope_dim <= 192 &&
         shape_.value_dim <= 128;
}

// What both forms need of a key, in double and not rounded.
void World::expand(Sequence& sequence) const {
  if (!sequence.expanded.empty()) return;
  const uint32_t rank = shape_.latent_rank;
  for (uint32_t key = 0; key < sequence.keys; ++key) {
    const double* c = &sequence.cache[size_t{key} * (rank + shape_.rope_dim)];
    for (uint32_t row = 0; row < kv_b_.rows; ++row) {
      const double* w = &weights_[size_t{row} * rank];
      sequence.expanded.push_back(std::inner_product(w, w + rank, c, 0.0));
    }
  }
}

// Logits of a row and head, [keys it sees].
Values World::scores_of(const Sequence& sequence, const Part& part, uint32_t row,
                        uint32_t head) const {
  const uint32_t rank = shape_.latent_rank;
  const uint32_t first = head * (shape_.nope_dim + shape_.value_dim);
  const uint32_t position = part.position + row;
  const bool is_absorbed = part.form == AttentionForm::kAbsorbed;
  Values query;
  for (uint32_t i = 0; i < shape_.nope_dim + shape_.rope_dim; ++i) {
    const uint32_t head_begin = head * (shape_.nope_dim + shape_.rope_dim);
    query.push_back(sequence.queries.get(position, head_begin + i));
  }
  Values latent_query(rank, 0.0);
  for (uint32_t i = 0; is_absorbed && i < shape_.nope_dim; ++i) {
    for (uint32_t l = 0; l < rank; ++l) {
      latent_query[l] += query[i] * weights_[size_t{first + i} * rank + l];
    }
  }
  for (double& value : latent_query) {
    if (on_tensor_cores(part.form)) value = rounded(value, kinds_.act);
  }
  Values scores;
  for (uint32_t key = 0; key <= position; ++key) {
    const double* c = &sequence.cache[size_t{key} * (rank + shape_.rope_dim)];
    double score = 0.0;
    for (uint32_t l = 0; is_absorbed && l < rank; ++l) score += latent_query[l] * c[l];
    for (uint32_t i = 0; !is_absorbed && i < shape_.nope_dim; ++i) {
      const double k = sequence.expanded[size_t{key} * kv_b_.rows + first + i];
      score += query[i] * rounded(k, kinds_.act);
    }
    for (uint32_t i = 0; i < shape_.rope_dim; ++i) {
      score += query[shape_.nope_dim + i] * c[rank + i];
    }
    scores.push_back(score * static_cast<double>(scale_));
  }
  return scores;
}

// One head's out [dv]. Rounding of probabilities is not imitated: each is off by half a unit, they
// are independent, and their sum is of the rounded ones.
Values World::head_expected(const Sequence& sequence, const Part& part, uint32_t row, uint32_t head,
                            Values& bound) const {
  const uint32_t first = head * (shape_.nope_dim + shape_.value_dim) + shape_.nope_dim;
  const bool is_absorbed = part.form == AttentionForm::kAbsorbed;
  const bool is_f32 = kinds_.act == DType::kF32;
  Values weights = scores_of(sequence, part, row, head);
  const double top = *std::max_element(weights.begin(), weights.end());
  double total = 0.0;
  for (double& weight : weights) total += weight = std::exp(weight - top);
  Values out;
  for (uint32_t d = 0; d < shape_.value_dim; ++d) {
    double sum = 0.0;
    double absolute = 0.0;
    double squares = 0.0;
    for (size_t key = 0; key < weights.size(); ++key) {
      double v = sequence.expanded[key * kv_b_.rows + first + d];
      if (!is_absorbed) v = rounded(v, kinds_.act);
      const double p = weights[key] / total;
      sum += p * v;
      absolute += p * std::fabs(v);
      squares += p * p * v * v;
    }
    out.push_back(sum);
    // A key or value near the middle of two BF16 numbers may be rounded the other way.
    const double flips = is_absorbed || is_f32 ? 2e-5 : 3e-4;
    const double probabilities =
        on_tensor_cores(part.form) ? 3.0 * kHalfUlp * std::sqrt(squares) : 0.0;
    const double own = (is_f32 ? 0x1p-23 : kHalfUlp) * std::fabs(sum);
    bound.push_back(1.01 * own + probabilities + flips * absolute + 1e-6);
  }
  return out;
}

Expected World::expect(const Part& part, uint32_t row) {
  Expected expected;
  expand(sequences_[part.sequence]);
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    const Values out = head_expected(sequences_[part.sequence], part, row, head, expected.bound);
    expected.out.insert(expected.out.end(), out.begin(), out.end());
  }
  return expected;
}

void World::check_row(const Part& part, uint32_t row, const Bytes& bytes, const std::string& what) {
  const Values found = values_of(bytes);
  const Expected expected = expect(part, row);
  double worst = 0.0;
  size_t where = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::fabs(found[i] - expected.out[i]) / expected.bound[i];
    if (error <= worst) continue;
    worst = std::isnan(error) ? INFINITY : error;
    where = i;
  }
  EXPECT_LE(worst, 1.0) << what << ": sequence " << part.sequence << " position "
                        << part.position + row << " form " << static_cast<int>(part.form)
                        << " element " << where << " is " << found[where] << ", wanted "
                        << expected.out[where] << " within " << expected.bound[where];
}

void World::check(Gpu& gpu, const std::vector<Part>& parts, const std::string& what) {
  const std::vector<Bytes> rows = attend(gpu, parts);
  size_t index = 0;
  for (const Part& part : parts) {
    for (uint32_t r = 0; r < part.rows; ++r, ++index) {
      // Every row of short parts, some of long ones: the oracle is slow.
      const bool is_checked = part.rows <= 8 || r % 13 == 0 || r + 1 == part.rows;
      if (is_checked) check_row(part, r, rows[index], what);
    }
  }
}

}  // namespace dsv3::attention_test
