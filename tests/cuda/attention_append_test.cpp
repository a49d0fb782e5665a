// Does mla_append rotate queries and store normed latents and rotated keys, at their places in
// every type of page and nowhere else? Against the formulas in double; F8 pages byte by byte.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cuda/attention_world.h"

namespace dsv3::attention_test {
namespace {

struct AppendCase {
  MlaShape shape;
  DType act;
  Table q, z, norm;
  std::vector<float> inv_freq;
  std::vector<int32_t> table_a{4, 1, 2}, table_b{3, 0};
  std::vector<uint32_t> positions{127, 128, 160000 % 192, 5};
  std::vector<int32_t> pages{1, 2, 1, 3};  // of each row

  AppendCase(const MlaShape& of, DType dtype, double magnitude)
      : shape(of),
        act(dtype),
        q(dtype, 4, of.heads * (of.nope_dim + of.rope_dim)),
        z(dtype, 4, of.latent_rank + of.rope_dim),
        norm(DType::kBF16, 1, of.latent_rank) {
    Numbers numbers(31);
    q.fill(numbers, 1.0);
    z.fill(numbers, 1.0);
    norm.fill(numbers, magnitude);
    for (uint32_t i = 0; i < shape.rope_dim / 2; ++i) {
      inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / shape.rope_dim)));
    }
  }
};

// What mla_append left.
struct Appended {
  Table q;
  Bytes pages;
};

Appended append(Gpu& gpu, const AppendCase& one, DType page_type, uint64_t page_bytes) {
  const Bytes empty(page_bytes * 5, std::byte{0xff});
  const std::vector<BatchSpan> spans = {{.row_begin = 0,
                                         .row_count = 2,
                                         .position_begin = one.positions[0],
                                         .form = AttentionForm::kUnabsorbed,
                                         .pages = gpu.upload(one.table_a)},
                                        {.row_begin = 2,
                                         .row_count = 1,
                                         .position_begin = one.positions[2],
                                         .form = AttentionForm::kAbsorbed,
                                         .pages = gpu.upload(one.table_a)},
                                        {.row_begin = 3,
                                         .row_count = 1,
                                         .position_begin = one.positions[3],
                                         .form = AttentionForm::kAbsorbed,
                                         .pages = gpu.upload(one.table_b)}};
  MlaAppendArgs args;
  args.shape = one.shape;
  args.rope = {.inv_freq = gpu.upload(one.inv_freq), .magnitude = 1.25f};
  args.batch = {.rows = 4,
                .positions = gpu.upload(one.positions),
                .spans = gpu.upload(spans),
                .span_count = 3,
                .row_spans = gpu.upload(std::vector<uint32_t>{0, 0, 1, 2}),
                .unabsorbed_rows = 2,
                .host_spans = spans.data()};
  args.q = {gpu.upload(one.q.bytes), one.act, 4, one.q.cols, one.q.stride};
  args.z = {gpu.upload(one.z.bytes), one.act, 4, one.z.cols, one.z.stride};
  args.latent_norm = {.data = gpu.upload(one.norm.bytes),
                      .dtype = DType::kBF16,
                      .rows = 1,
                      .cols = one.norm.cols,
                      .stride = one.norm.stride};
  args.pages = {.data = gpu.upload(empty),
                .dtype = page_type,
                .page_count = 5,
                .width = one.z.cols,
                .page_stride = page_bytes / (dtype_bits(page_type) / 8)};
  gpu.ops().mla_append(args);
  Appended result{one.q, gpu.download(args.pages.data, empty.size())};
  result.q.bytes = gpu.download(args.q.data, one.q.bytes.size());
  return result;
}

// Element i of a rotated vector that begins at column `begin`.
double rotated(const AppendCase& one, const Table& table, uint32_t row, uint32_t begin,
               uint32_t i) {
  const double angle =
      static_cast<double>(static_cast<float>(one.positions[row]) * one.inv_freq[i / 2]);
  const double even = table.get(row, begin + i / 2 * 2);
  const double odd = table.get(row, begin + i / 2 * 2 + 1);
  return 1.25 * (i % 2 == 0 ? even * std::cos(angle) - odd * std::sin(angle)
                            : even * std::sin(angle) + odd * std::cos(angle));
}

double normed(const AppendCase& one, uint32_t row, uint32_t i) {
  double squares = 0.0;
  for (uint32_t c = 0; c < one.shape.latent_rank; ++c) squares += std::pow(one.z.get(row, c), 2.0);
  const double root = std::sqrt(squares / one.shape.latent_rank + 1e-6);
  return one.norm.get(0, i) * one.z.get(row, i) / root;
}

constexpr MlaShape kShapes[] = {
    {.heads = 18, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512},
    {.heads = 3, .nope_dim = 7, .rope_dim = 6, .value_dim = 5, .latent_rank = 150},
    {.heads = 1, .nope_dim = 1, .rope_dim = 2, .value_dim = 1, .latent_rank = 1}};

void expect_near(DType act, double value, double wanted, const char* what) {
  const double relative = act == DType::kBF16 ? 0x1.01p-8 : 0x1p-20;
  EXPECT_LE(std::fabs(value - wanted), relative * std::fabs(wanted) + 2e-6)
      << what << " is " << value << ", wanted " << wanted;
}

void check_queries(const AppendCase& one, const Table& found, uint32_t row) {
  const uint32_t nope = one.shape.nope_dim;
  for (uint32_t c = 0; c < one.q.cols; ++c) {
    const uint32_t i = c % (nope + one.shape.rope_dim);
    const double wanted =
        i < nope ? one.q.get(row, c) : rotated(one, one.q, row, c - i + nope, i - nope);
    expect_near(i < nope ? DType::kF32 : one.act, found.get(row, c), wanted, "q");
  }
}

void check_stored(const AppendCase& one, const std::byte* at, uint32_t row) {
  const uint32_t rank = one.shape.latent_rank;
  Table stored(one.act, 1, one.z.cols);
  std::memcpy(stored.bytes.data(), at, uint64_t{one.z.cols} * (dtype_bits(one.act) / 8));
  for (uint32_t c = 0; c < one.z.cols; ++c) {
    const double wanted = c < rank ? normed(one, row, c) : rotated(one, one.z, row, rank, c - rank);
    expect_near(one.act, stored.get(0, c), wanted, "a cached element");
  }
}

TEST(AttentionAppend, RotatesAndStores) {
  for (const MlaShape& shape : kShapes) {
    for (const DType act : {DType::kBF16, DType::kF32}) {
      const AppendCase one(shape, act, 1.0);
      Gpu gpu(limits_of(shape, act, 16, 256));
      const uint64_t row_bytes = uint64_t{one.z.cols} * (dtype_bits(act) / 8);
      Appended found = append(gpu, one, act, kPageTokens * row_bytes);
      for (uint32_t row = 0; row < 4; ++row) {
        check_queries(one, found.q, row);
        const uint64_t slot = one.positions[row] % kPageTokens;
        std::byte* at =
            &found.pages[(static_cast<uint64_t>(one.pages[row]) * kPageTokens + slot) * row_bytes];
        check_stored(one, at, row);
        std::memset(at, 0xff, row_bytes);
      }
      EXPECT_EQ(found.pages, Bytes(found.pages.size(), std::byte{0xff})) << "other slots";
    }
  }
}

// The same rows in BF16 pages say what the F8 ones quantise; magnitudes below and above the floor.
TEST(AttentionAppend, F8PagesHoldTheQuantisedBf16) {
  for (const MlaShape& shape : kShapes) {
    for (const double magnitude : {1.0, 1e-6, 3e4}) {
      const AppendCase one(shape, DType::kBF16, magnitude);
      Gpu gpu(limits_of(shape, DType::kBF16, 16, 256));
      const uint32_t rank = shape.latent_rank;
      const uint64_t blocks = (rank + kBlock - 1) / kBlock;
      const uint64_t plain_bytes = uint64_t{2} * kPageTokens * one.z.cols;
      const uint64_t rope_bytes = uint64_t{2} * shape.rope_dim;
      const uint64_t f8_bytes = kPageTokens * (rank + rope_bytes + uint64_t{4} * blocks);
      const Appended plain = append(gpu, one, DType::kBF16, plain_bytes);
      const Appended found = append(gpu, one, DType::kF8E4M3, f8_bytes);
      Bytes wanted(found.pages.size(), std::byte{0xff});
      for (uint32_t row = 0; row < 4; ++row) {
        const uint64_t slot = one.positions[row] % kPageTokens;
        const auto page = static_cast<uint64_t>(one.pages[row]);
        const std::byte* from = &plain.pages[page * plain_bytes + slot * 2 * one.z.cols];
        Table values(DType::kBF16, 1, rank);
        std::memcpy(values.bytes.data(), from, size_t{2} * rank);
        Values latents;
        for (uint32_t c = 0; c < rank; ++c) latents.push_back(values.get(0, c));
        std::vector<uint8_t> codes;
        std::vector<float> scales;
        quantise_latents(latents, codes, scales);
        std::byte* to = &wanted[page * f8_bytes];
        std::memcpy(to + slot * rank, codes.data(), rank);
        to += kPageTokens * uint64_t{rank};
        std::memcpy(to + slot * rope_bytes, from + size_t{2} * rank, rope_bytes);
        to += kPageTokens * rope_bytes;
        std::memcpy(to + slot * blocks * sizeof(float), scales.data(), blocks * sizeof(float));
      }
      EXPECT_EQ(found.pages, wanted) << "rank " << rank << " magnitude " << magnitude;
    }
  }
}

}  // namespace
}  // namespace dsv3::attention_test
