// Does attention over the paged cache give what the oracle gives over plain arrays? Both forms,
// plain and F8 pages, odd and true widths, page edges, NaN in every slot no row may touch.
#include <limits>

#include "ops/attention_fixture.h"

namespace dsv3::ops_test {
namespace {

using AttentionConformance = Conformance;
INSTANTIATE_TEST_SUITE_P(All, AttentionConformance, ::testing::ValuesIn(all_ops()), ops_name);

constexpr MlaShape kTiny{
    .heads = 1, .nope_dim = 1, .rope_dim = 2, .value_dim = 1, .latent_rank = 1};
constexpr MlaShape kOdd{
    .heads = 3, .nope_dim = 33, .rope_dim = 6, .value_dim = 23, .latent_rank = 81};
constexpr MlaShape kTrue{
    .heads = 1, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .latent_rank = 512};

struct Case {
  MlaShape shape;
  uint32_t position = 0;
  uint32_t rows = 1;
};

class AttendCase {
 public:
  struct Formats {
    DType act, weight, pages;
  };
  AttendCase(Random& random, const Case& of, const Formats& formats, AttentionForm form)
      : case_(of),
        formats_(formats),
        form_(form),
        keys_(of.position + of.rows),
        q_(Matrix::random(random, formats.act, of.rows,
                          of.shape.heads * (of.shape.nope_dim + of.shape.rope_dim))),
        latents_(
            Matrix::random(random, formats.act, keys_, of.shape.latent_rank + of.shape.rope_dim)),
        kv_b_(Matrix::random(random, formats.weight,
                             of.shape.heads * (of.shape.nope_dim + of.shape.value_dim),
                             of.shape.latent_rank, 1.0 / std::sqrt(of.shape.latent_rank))),
        out_(formats.act, of.rows, of.shape.heads * of.shape.value_dim),
        table_(shuffled_pages(random, keys_ / kPageTokens + 2)),
        cache_(formats.pages, of.shape, keys_ / kPageTokens + 2) {
    for (uint32_t j = 0; j < keys_; ++j) cache_.store(table_, j, latents_, j);
  }

  void check(Ops& ops, const OpsParam& param, const std::string& what) {
    const MlaShape& shape = case_.shape;
    const TestBatch batch({{.row_begin = 0,
                            .row_count = case_.rows,
                            .position_begin = case_.position,
                            .form = form_,
                            .pages = table_.data()}});
    const auto scale =
        static_cast<float>(1.5 / std::sqrt(static_cast<double>(shape.nope_dim + shape.rope_dim)));
    ops.mla_attend({.shape = shape,
                    .batch = batch.view(),
                    .q = q_.rows(),
                    .kv_b = kv_b_.weight(),
                    .pages = cache_.pages(),
                    .scale = scale,
                    .out = out_.rows()});
    const Values query = q_.values();
    const Values cache = multiplied_cache(param.quant);
    const Values kv_b = kv_b_.values();
    const reference::AttendArgs args{.query = query,
                                     .cache = cache,
                                     .kv_b = kv_b,
                                     .heads = shape.heads,
                                     .nope = shape.nope_dim,
                                     .rope = shape.rope_dim,
                                     .v = shape.value_dim,
                                     .latent = shape.latent_rank,
                                     .first_position = case_.position,
                                     .scale = static_cast<double>(scale)};
    const Values expected = form_ == AttentionForm::kAbsorbed ? reference::attend_absorbed(args)
                                                              : reference::attend_naive(args);
    const AttendBound bound(args, formats_.act, formats_.weight, form_, param);
    expect_close(out_.values(), expected, bound.bounds(expected), what);
  }

 private:
  // What the cache holds; latents that meet kv_b as they are in the unabsorbed form.
  Values multiplied_cache(ActivationQuant quant) {
    const uint32_t rank = case_.shape.latent_rank;
    Values all;
    for (uint32_t j = 0; j < keys_; ++j) {
      const Values row = cache_.load(table_, j);
      const Values latent(row.begin(), row.begin() + rank);
      const Values used = form_ == AttentionForm::kUnabsorbed
                              ? multiplied(latent, rank, formats_.weight, quant)
                              : latent;
      all.insert(all.end(), used.begin(), used.end());
      all.insert(all.end(), row.begin() + rank, row.end());
    }
    return all;
  }

  Case case_;
  Formats formats_;
  AttentionForm form_;
  uint32_t keys_;
  Matrix q_;
  Matrix latents_;
  Matrix kv_b_;
  Matrix out_;
  std::vector<int32_t> table_;
  TestCache cache_;
};

TEST_P(AttentionConformance, BothFormsMatchTheOracle) {
  Random random(11);
  const Case cases[] = {{kTiny, 0, 1}, {kTiny, 64, 1},  {kOdd, 0, 64}, {kOdd, 63, 3},
                        {kOdd, 0, 65}, {kOdd, 127, 33}, {kTrue, 70, 2}};
  constexpr DType kBF16 = DType::kBF16;
  constexpr DType kF32 = DType::kF32;
  constexpr DType kF8 = DType::kF8E4M3;
  const AttendCase::Formats formats[] = {{kBF16, kBF16, kBF16}, {kBF16, kF8, kBF16},
                                         {kBF16, kF32, kBF16},  {kBF16, DType::kF16, kBF16},
                                         {kBF16, kBF16, kF8},   {kBF16, kF8, kF8},
                                         {kF32, kF32, kF32},    {kF32, kF8, kF32},
                                         {kF32, kBF16, kF32},   {kF32, DType::kF16, kF32}};
  for (const Case& one : cases) {
    for (const auto& of : formats) {
      if (one.shape.latent_rank == 512 && of.weight != kF8 && of.weight != of.act) continue;
      for (const AttentionForm form : {AttentionForm::kUnabsorbed, AttentionForm::kAbsorbed}) {
        AttendCase(random, one, of, form)
            .check(ops_, GetParam(),
                   str("latent ", one.shape.latent_rank, " position ", one.position, " rows ",
                       one.rows, " act ", dtype_name(of.act), " kv_b ", dtype_name(of.weight),
                       " pages ", dtype_name(of.pages), " form ", static_cast<uint32_t>(form)));
      }
    }
  }
}

TEST_P(AttentionConformance, MoreRowsThanOneQueryBlock) {
  Random random(12);
  const MlaShape shape{.heads = 1, .nope_dim = 8, .rope_dim = 4, .value_dim = 8, .latent_rank = 16};
  for (const DType act : {DType::kF32, DType::kBF16}) {
    AttendCase(random, {shape, 30, 560}, {act, act, act}, AttentionForm::kUnabsorbed)
        .check(ops_, GetParam(), str("560 rows, act ", dtype_name(act)));
  }
}

TEST_P(AttentionConformance, MoreHeadsThanLanesAndKeysInParts) {
  Random random(17);
  const MlaShape shape{.heads = 19, .nope_dim = 4, .rope_dim = 2, .value_dim = 3, .latent_rank = 9};
  AttendCase(random, {shape, 900, 2}, {DType::kBF16, DType::kBF16, DType::kBF16},
             AttentionForm::kAbsorbed)
      .check(ops_, GetParam(), "19 heads, 902 keys");
}

struct AppendCase {
  MlaShape shape;
  DType act;
  Matrix q, z, norm;
  std::vector<float> inv_freq;
  std::vector<int32_t> table_a, table_b;
  TestBatch batch{{}};

  AppendCase(Random& random, const MlaShape& of, DType dtype)
      : shape(of),
        act(dtype),
        q(Matrix::random(random, dtype, 7, of.heads * (of.nope_dim + of.rope_dim))),
        z(Matrix::random(random, dtype, 7, of.latent_rank + of.rope_dim)),
        norm(Matrix::random(random, DType::kBF16, 1, of.latent_rank)),
        inv_freq(reference::rope_inv_freq({.dim = of.rope_dim, .theta = 10000.0})),
        table_a{5, 0, 3},
        table_b{1, 4} {
    batch = TestBatch({{.row_begin = 0,
                        .row_count = 4,
                        .position_begin = 126,
                        .form = AttentionForm::kUnabsorbed,
                        .pages = table_a.data()},
                       {.row_begin = 4,
                        .row_count = 1,
                        .position_begin = 0,
                        .form = AttentionForm::kAbsorbed,
                        .pages = table_b.data()},
                       {.row_begin = 5,
                        .row_count = 2,
                        .position_begin = 64,
                        .form = AttentionForm::kAbsorbed,
                        .pages = table_b.data()}},
                      {126, 127, 128, 129, 0, 64, 65});
  }

  MlaAppendArgs args(Rows q_rows, const LatentPages& pages) const {
    return {.shape = shape,
            .rope = {.inv_freq = inv_freq.data(), .magnitude = 1.25f},
            .batch = batch.view(),
            .q = q_rows,
            .z = z.rows(),
            .latent_norm = norm.weight(),
            .eps = 1e-6f,
            .pages = pages};
  }

  // Rotated values and their bound: two products and a sum in FP32, cos and sin rounded, one
  // rounding.
  void rotate(const Values& x, uint32_t position, Values& out, Values& bound) const {
    const std::vector<int32_t> at = {static_cast<int32_t>(position)};
    const Values turned = reference::rope(x, at, inv_freq, 1.25);
    for (size_t i = 0; i < x.size(); ++i) {
      const double pair = std::fabs(x[i]) + std::fabs(x[i ^ 1u]);
      out.push_back(turned[i]);
      bound.push_back(round_of(act) * std::fabs(turned[i]) + 8.0 * kRoundF32 * 1.25 * pair + 1e-38);
    }
  }
};

TEST_P(AttentionConformance, AppendRotatesQueriesAndStoresNormedLatents) {
  Random random(13);
  for (const MlaShape& shape : {kTiny, kOdd, kTrue}) {
    for (const DType act : {DType::kBF16, DType::kF32}) {
      const AppendCase one(random, shape, act);
      Matrix q = one.q;
      TestCache cache(act, shape, 6);
      ops_.mla_append(one.args(q.rows(), cache.pages()));

      const uint32_t head = shape.nope_dim + shape.rope_dim;
      Values expected;
      Values bound;
      for (uint32_t r = 0; r < 7; ++r) {
        const Values row = one.q.row_values(r);
        for (uint32_t h = 0; h < shape.heads; ++h) {
          const auto begin = row.begin() + h * head;
          expected.insert(expected.end(), begin, begin + shape.nope_dim);
          bound.insert(bound.end(), shape.nope_dim, 0.0);
          one.rotate(Values(begin + shape.nope_dim, begin + head), one.batch.positions[r], expected,
                     bound);
        }
      }
      expect_close(q.values(), expected, bound, "q");

      TestCache untouched(act, shape, 6);
      for (uint32_t r = 0; r < 7; ++r) {
        const Values row = one.z.row_values(r);
        const Values latent(row.begin(), row.begin() + shape.latent_rank);
        Values wanted = reference::rms_norm(latent, one.norm.values(), static_cast<double>(1e-6f));
        Values limit;
        for (const double v : wanted) {
          limit.push_back(
              std::fabs(v) *
              (round_of(act) * 1.01 + sum_error(shape.latent_rank, GetParam()) + 8 * kRoundF32));
        }
        one.rotate(Values(row.begin() + shape.latent_rank, row.end()), one.batch.positions[r],
                   wanted, limit);
        const std::vector<int32_t>& table = r < 4 ? one.table_a : one.table_b;
        expect_close(cache.load(table, one.batch.positions[r]), wanted, limit, str("latent ", r));
        // Put the stored row beside it, so that the rest must be bit-equal.
        untouched.store(table, one.batch.positions[r], cache.load(table, one.batch.positions[r]));
      }
      EXPECT_EQ(cache.bytes(), untouched.bytes()) << "slots of other positions";
    }
  }
}

// F8 pages hold, to the bit, the codes and scales of what BF16 pages would hold.
TEST_P(AttentionConformance, AppendQuantisesWhatBf16PagesWouldHold) {
  Random random(15);
  constexpr MlaShape kCut{
      .heads = 1, .nope_dim = 4, .rope_dim = 6, .value_dim = 4, .latent_rank = 200};
  for (const MlaShape& shape : {kTiny, kOdd, kTrue, kCut}) {
    for (const double magnitude : {1.0, 1e-6, 2e4}) {
      AppendCase one(random, shape, DType::kBF16);
      one.norm = Matrix::random(random, DType::kBF16, 1, shape.latent_rank, magnitude);
      for (uint32_t c = 0; c < shape.latent_rank; ++c) one.z.set(3, c, 0.0);
      Matrix plain_q = one.q;
      TestCache plain(DType::kBF16, shape, 6);
      ops_.mla_append(one.args(plain_q.rows(), plain.pages()));
      Matrix q = one.q;
      TestCache cache(DType::kF8E4M3, shape, 6);
      ops_.mla_append(one.args(q.rows(), cache.pages()));
      EXPECT_TRUE(q.same_bits(plain_q));
      TestCache wanted(DType::kF8E4M3, shape, 6);
      for (uint32_t r = 0; r < 7; ++r) {
        const std::vector<int32_t>& table = r < 4 ? one.table_a : one.table_b;
        wanted.store(table, one.batch.positions[r], plain.load(table, one.batch.positions[r]));
      }
      EXPECT_EQ(cache.bytes(), wanted.bytes())
          << "latent " << shape.latent_rank << ", magnitude " << magnitude;
    }
  }
}

// What the odd shape's rows of q attend, from position `position` on, over 70 latents.
Matrix attend_odd(Ops& ops, AttentionForm form, const Matrix& q, uint32_t rows, uint32_t position,
                  const Matrix& latents, const Matrix& kv_b) {
  const std::vector<int32_t> table = {1, 0};
  TestCache cache(DType::kBF16, kOdd, 2);
  for (uint32_t j = 0; j < 70; ++j) cache.store(table, j, latents, j);
  Matrix out(DType::kBF16, rows, 69);
  const TestBatch batch({{.row_begin = 0,
                          .row_count = rows,
                          .position_begin = position,
                          .form = form,
                          .pages = table.data()}});
  ops.mla_attend({.shape = kOdd,
                  .batch = batch.view(),
                  .q = q.rows(),
                  .kv_b = kv_b.weight(),
                  .pages = cache.pages(),
                  .scale = 0.1f,
                  .out = out.rows()});
  return out;
}

TEST_P(AttentionConformance, ANanQueryPoisonsItsRowOnly) {
  Random random(14);
  for (const AttentionForm form : {AttentionForm::kUnabsorbed, AttentionForm::kAbsorbed}) {
    Matrix q = Matrix::random(random, DType::kBF16, 4, kOdd.heads * 39);
    q.set(2, 39 + 5, std::numeric_limits<double>::quiet_NaN());
    const Matrix latents = Matrix::random(random, DType::kBF16, 70, 87);
    const Matrix kv_b = Matrix::random(random, DType::kBF16, 3 * 56, 81);
    const Matrix out = attend_odd(ops_, form, q, 4, 66, latents, kv_b);
    for (uint32_t r = 0; r < 4; ++r) {
      for (uint32_t c = 0; c < 69; ++c) {
        EXPECT_EQ(std::isnan(out.get(r, c)), r == 2 && c / 23 == 1) << r << ", " << c;
      }
    }
  }
}

TEST_P(AttentionConformance, ANanLatentPoisonsOnlyTheRowsThatSeeIt) {
  Random random(16);
  for (const AttentionForm form : {AttentionForm::kUnabsorbed, AttentionForm::kAbsorbed}) {
    const Matrix q = Matrix::random(random, DType::kBF16, 40, kOdd.heads * 39);
    Matrix latents = Matrix::random(random, DType::kBF16, 70, 87);
    latents.set(45, 3, std::numeric_limits<double>::quiet_NaN());
    const Matrix kv_b = Matrix::random(random, DType::kBF16, 3 * 56, 81);
    const Matrix out = attend_odd(ops_, form, q, 40, 30, latents, kv_b);
    for (uint32_t r = 0; r < 40; ++r) {
      EXPECT_EQ(std::isnan(out.get(r, 68)), 30 + r >= 45) << "row " << r;
    }
  }
}

TEST_P(AttentionConformance, RefusesSpansAndPagesThatDoNotFit) {
  const Matrix q(DType::kBF16, 2, kOdd.heads * 39);
  const Matrix kv_b(DType::kBF16, 3 * 56, 81);
  Matrix out(DType::kBF16, 2, 69);
  const std::vector<int32_t> table = {0, 2};
  TestCache cache(DType::kBF16, kOdd, 2);
  TestBatch batch({{.row_begin = 0,
                    .row_count = 2,
                    .position_begin = 0,
                    .form = AttentionForm::kAbsorbed,
                    .pages = table.data()}});
  BatchSpan& span = batch.spans.front();
  const MlaAttendArgs good{.shape = kOdd,
                           .batch = batch.view(),
                           .q = q.rows(),
                           .kv_b = kv_b.weight(),
                           .pages = cache.pages(),
                           .scale = 0.1f,
                           .out = out.rows()};
  ops_.mla_attend(good);
  const auto refuse = [&](const char* argument, const auto& change) {
    MlaAttendArgs args = good;
    const BatchSpan kept = span;
    change(args);
    expect_refused([&] { ops_.mla_attend(args); }, "mla_attend", argument);
    span = kept;
  };
  span.position_begin = 63;
  expect_contents_refused([&] { ops_.mla_attend(good); }, "mla_attend", "pages[1] is 2");
  span.position_begin = 0;
  refuse("batch.spans[0] has 3 rows", [&](MlaAttendArgs&) { span.row_count = 3; });
  refuse("batch.spans cover 1 rows", [&](MlaAttendArgs&) { span.row_count = 1; });
  refuse("batch.rows", [](MlaAttendArgs& a) { a.batch.rows = 3; });
  refuse("pages is F32", [](MlaAttendArgs& a) { a.pages.dtype = DType::kF32; });
  TestCache f8(DType::kF8E4M3, kOdd, 2);
  refuse("pages.page_stride", [&](MlaAttendArgs& a) {
    a.pages = f8.pages();
    a.pages.page_stride = latent_page_bytes_f8(kOdd) - 1;
  });
  refuse("pages is F16", [](MlaAttendArgs& a) { a.pages.dtype = DType::kF16; });
  refuse("pages.width", [](MlaAttendArgs& a) { a.pages.width = 88; });
  refuse("kv_b", [](MlaAttendArgs& a) { a.kv_b.rows = 3 * 56 - 1; });
  refuse("shape.rope_dim is 5", [](MlaAttendArgs& a) { a.shape.rope_dim = 5; });
  refuse("shape.heads is 0", [](MlaAttendArgs& a) { a.shape.heads = 0; });
  refuse("mla.value_dim", [&](MlaAttendArgs& a) {
    static const Matrix wide_kv(DType::kBF16, 33 + 129, 81);
    static const Matrix one_q(DType::kBF16, 2, 39);
    static Matrix wide_out(DType::kBF16, 2, 129);
    a.shape.heads = 1;
    a.shape.value_dim = 129;
    a.q = one_q.rows();
    a.kv_b = wide_kv.weight();
    a.out = wide_out.rows();
  });
}

}  // namespace
}  // namespace dsv3::ops_test
