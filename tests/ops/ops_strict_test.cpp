// Is a result the same bits whatever surrounds it? Rows alone and in company, prompts whole and in
// chunks, shuffled pages, one to three threads: every kind of Ops against itself.
#include <numeric>

#include "ops/attention_fixture.h"

namespace dsv3::ops_test {
namespace {

// Ops of one kind with 1, 2 and 3 threads; a GPU has no such number and comes once.
class StrictOps : public ::testing::TestWithParam<OpsParam> {
 protected:
  StrictOps() {
    OpsParam param = GetParam();
    for (param.threads = 1; param.threads <= (param.is_cuda ? 1u : 3u); ++param.threads) {
      boxes_.push_back(std::make_unique<OpsBox>(param));
      all_.push_back(boxes_.back()->ops.get());
    }
  }
  Ops& one() { return *all_.front(); }

  std::vector<std::unique_ptr<OpsBox>> boxes_;
  std::vector<Ops*> all_;
};

// all_ops() without their thread counts.
std::vector<OpsParam> kinds() {
  std::vector<OpsParam> out;
  for (OpsParam param : all_ops()) {
    param.threads = 1;
    const auto is_same = [&](const OpsParam& other) {
      return other.level == param.level && other.quant == param.quant &&
             other.is_cuda == param.is_cuda;
    };
    if (std::none_of(out.begin(), out.end(), is_same)) out.push_back(param);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Kinds, StrictOps, ::testing::ValuesIn(kinds()), ops_name);

constexpr DType kFormats[] = {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3};

TEST_P(StrictOps, LinearRowsDoNotSeeEachOther) {
  Random random(41);
  for (const DType act : {DType::kBF16, DType::kF32}) {
    for (const DType format : kFormats) {
      for (const auto& [in, out] : {std::pair{300u, 75u}, std::pair{1409u, 130u}}) {
        const Matrix x = Matrix::random(random, act, 37, in);
        const Matrix w = Matrix::random(random, format, out, in);
        Matrix whole(DType::kF32, 37, out);
        one().linear({.x = x.rows(), .weight = w.weight(), .y = whole.rows()});
        for (Ops* ops : all_) {
          for (const uint32_t rows : {1u, 2u, 3u, 5u, 33u, 37u}) {
            Matrix part(DType::kF32, rows, out);
            ops->linear({.x = x.rows(37 - rows, rows), .weight = w.weight(), .y = part.rows()});
            for (uint32_t r = 0; r < rows; ++r) {
              EXPECT_TRUE(part.same_row(r, whole, 37 - rows + r))
                  << dtype_name(act) << " x " << dtype_name(format) << ", row " << r << " of "
                  << rows;
            }
          }
        }
      }
    }
  }
}

TEST_P(StrictOps, ExpertsDoNotSeeTheirCompany) {
  Random random(42);
  for (const DType format : kFormats) {
    std::vector<Matrix> parts;
    for (uint32_t i = 0; i < 4 * 3; ++i) {
      parts.push_back(Matrix::random(random, format, i % 3 == 2 ? 136 : 72, i % 3 == 2 ? 72 : 136));
    }
    std::vector<ExpertWeights> experts;
    for (uint32_t e = 0; e < 4; ++e) {
      experts.push_back(
          {parts[3 * e].weight(), parts[3 * e + 1].weight(), parts[3 * e + 2].weight()});
    }
    const Matrix x = Matrix::random(random, DType::kBF16, 90, 136);
    std::vector<int32_t> ids;
    for (uint32_t i = 0; i < 180; ++i) ids.push_back(static_cast<int32_t>(random.below(4)));
    const auto run = [&](Ops& ops, uint32_t first, uint32_t rows, Matrix& hidden, Matrix& y) {
      ops.expert_gate_up({.x = x.rows(first, rows),
                          .ids = ids.data() + 2 * first,
                          .experts_per_token = 2,
                          .experts = experts.data(),
                          .expert_count = 4,
                          .hidden = hidden.rows()});
      ops.expert_down({.hidden = hidden.rows(),
                       .ids = ids.data() + 2 * first,
                       .experts_per_token = 2,
                       .experts = experts.data(),
                       .expert_count = 4,
                       .y = y.rows()});
    };
    Matrix hidden(DType::kBF16, 180, 72);
    Matrix y(DType::kBF16, 180, 136);
    run(one(), 0, 90, hidden, y);
    for (Ops* ops : all_) {
      for (const auto& [first, rows] :
           {std::pair{0u, 90u}, std::pair{17u, 1u}, std::pair{3u, 8u}}) {
        Matrix own_hidden(DType::kBF16, 2 * rows, 72);
        Matrix own_y(DType::kBF16, 2 * rows, 136);
        run(*ops, first, rows, own_hidden, own_y);
        for (uint32_t i = 0; i < 2 * rows; ++i) {
          EXPECT_TRUE(own_hidden.same_row(i, hidden, 2 * first + i)) << dtype_name(format);
          EXPECT_TRUE(own_y.same_row(i, y, 2 * first + i)) << dtype_name(format);
        }
      }
    }
  }
}

// As many rows as several panels and units have, against one row at a time and all thread counts.
TEST_P(StrictOps, LinearsTogetherAndSharedExpertsDoNotSeeTheirCompany) {
  Random random(49);
  constexpr uint32_t kRows = 140;
  for (const DType format : {DType::kBF16, DType::kF8E4M3}) {
    const Matrix x = Matrix::random(random, DType::kBF16, kRows, 136);
    const Matrix gate = Matrix::random(random, format, 90, 136);
    const Matrix up = Matrix::random(random, format, 90, 136);
    const Matrix down = Matrix::random(random, format, 136, 90);
    const ExpertWeights expert{gate.weight(), up.weight(), down.weight()};
    const std::vector<int32_t> ids(kRows, 0);
    struct Results {
      explicit Results(uint32_t rows)
          : a(DType::kBF16, rows, 90),
            b(DType::kBF16, rows, 90),
            hidden(DType::kBF16, rows, 90),
            routed(DType::kBF16, rows, 136),
            y(DType::kBF16, rows, 136) {}
      Matrix a, b, hidden, routed, y;
    };
    const auto run = [&](Ops& ops, uint32_t first, uint32_t rows, Results& out) {
      const LinearArgs both[] = {
          {.x = x.rows(first, rows), .weight = gate.weight(), .y = out.a.rows()},
          {.x = x.rows(first, rows), .weight = up.weight(), .y = out.b.rows()}};
      ops.linears(both);
      if (!ops.takes_shared_expert()) return;
      Matrix routed(DType::kBF16, rows, 90);
      ops.expert_gate_up({.x = x.rows(first, rows),
                          .ids = ids.data(),
                          .experts_per_token = 1,
                          .experts = &expert,
                          .expert_count = 1,
                          .hidden = routed.rows(),
                          .shared = &expert,
                          .shared_hidden = out.hidden.rows()});
      ops.expert_down({.hidden = routed.rows(),
                       .ids = ids.data(),
                       .experts_per_token = 1,
                       .experts = &expert,
                       .expert_count = 1,
                       .y = out.routed.rows(),
                       .shared = &expert,
                       .shared_hidden = out.hidden.rows(),
                       .shared_y = out.y.rows()});
    };
    Results whole(kRows);
    run(one(), 0, kRows, whole);
    for (Ops* ops : all_) {
      for (const auto& [first, rows] :
           {std::pair{0u, kRows}, std::pair{139u, 1u}, std::pair{70u, 2u}, std::pair{4u, 100u}}) {
        Results part(rows);
        run(*ops, first, rows, part);
        for (uint32_t r = 0; r < rows; ++r) {
          EXPECT_TRUE(part.a.same_row(r, whole.a, first + r)) << dtype_name(format) << r;
          EXPECT_TRUE(part.b.same_row(r, whole.b, first + r)) << dtype_name(format) << r;
          EXPECT_TRUE(part.hidden.same_row(r, whole.hidden, first + r)) << dtype_name(format) << r;
          EXPECT_TRUE(part.routed.same_row(r, whole.y, first + r)) << dtype_name(format) << r;
          EXPECT_TRUE(part.y.same_row(r, whole.y, first + r)) << dtype_name(format) << r;
        }
      }
    }
  }
}

TEST_P(StrictOps, RowsOfNormsAndRoutersDoNotSeeEachOther) {
  Random random(43);
  const Matrix x = Matrix::random(random, DType::kBF16, 300, 90);
  const Matrix weight = Matrix::random(random, DType::kF32, 1, 90);
  const Matrix gate = Matrix::random(random, DType::kBF16, 16, 90);
  const RouterShape shape{16, 4, 4, 2, true, 2.5f};
  Matrix whole(DType::kBF16, 300, 90);
  std::vector<int32_t> ids(300 * 4);
  std::vector<float> weights(300 * 4);
  const auto route = [&](Ops& ops, const ConstRows& rows, int32_t* out_ids, float* out_weights) {
    ops.route({.shape = shape,
               .x = rows,
               .gate = gate.weight(),
               .bias = nullptr,
               .ids = out_ids,
               .weights = out_weights,
               .expert_tokens = nullptr,
               .nan_count = nullptr});
  };
  one().rms_norm({.x = x.rows(), .weight = weight.weight(), .out = whole.rows()});
  route(one(), x.rows(), ids.data(), weights.data());
  for (Ops* ops : all_) {
    for (const auto& [first, rows] :
         {std::pair{0u, 300u}, std::pair{299u, 1u}, std::pair{5u, 7u}}) {
      Matrix part(DType::kBF16, rows, 90);
      std::vector<int32_t> own_ids(rows * 4);
      std::vector<float> own_weights(rows * 4);
      ops->rms_norm({.x = x.rows(first, rows), .weight = weight.weight(), .out = part.rows()});
      route(*ops, x.rows(first, rows), own_ids.data(), own_weights.data());
      for (uint32_t r = 0; r < rows; ++r) EXPECT_TRUE(part.same_row(r, whole, first + r));
      EXPECT_TRUE(std::equal(own_ids.begin(), own_ids.end(), ids.begin() + first * 4));
      EXPECT_TRUE(std::equal(own_weights.begin(), own_weights.end(), weights.begin() + first * 4));
    }
  }
}

// One sequence of kTokens: queries and latents before append, fixed.
constexpr uint32_t kTokens = 330;
constexpr MlaShape kShape{
    .heads = 3, .nope_dim = 33, .rope_dim = 6, .value_dim = 23, .latent_rank = 80};

struct Sequence {
  Sequence(Random& random, DType act)
      : q(Matrix::random(random, act, kTokens, kShape.heads * 39)),
        z(Matrix::random(random, act, kTokens, 86)) {}
  Matrix q, z;
};

struct Piece {
  uint32_t begin, count;
  AttentionForm form;
};

class AttentionRun {
 public:
  AttentionRun(DType act, DType format, DType pages) : act_(act), pages_(pages) {
    Random random(44);
    kv_b_ = Matrix::random(random, format, kShape.heads * 56, 80, 0.1);
    norm_ = Matrix::random(random, DType::kF32, 1, 80);
    inv_freq_ = reference::rope_inv_freq({.dim = 6, .theta = 100.0});
  }

  // Runs the pieces as passes, each pass with `company` sequences beside it; returns the outputs of
  // the sequence in the order of its rows.
  Matrix run(Ops& ops, const Sequence& sequence, const std::vector<std::vector<Piece>>& passes,
             const Sequence* company, uint64_t page_seed) {
    Random random(page_seed);
    const std::vector<int32_t> pages = shuffled_pages(random, 14);
    const std::vector<int32_t> own(pages.begin(), pages.begin() + 6);
    const std::vector<int32_t> other(pages.begin() + 6, pages.begin() + 12);
    TestCache cache(pages_, kShape, 14);
    Matrix out(act_, kTokens, kShape.heads * 23);
    uint32_t company_at = 0;
    for (const std::vector<Piece>& pass : passes) {
      std::vector<std::pair<const Sequence*, Piece>> spans;
      if (company != nullptr && company_at < 300) {
        spans.push_back({company, {company_at, 7, AttentionForm::kUnabsorbed}});
        spans.push_back({company, {company_at + 7, 2, AttentionForm::kAbsorbed}});
        company_at += 9;
      }
      for (const Piece& piece : pass) spans.push_back({&sequence, piece});
      run_pass(ops, spans, &sequence, own, other, cache, out);
    }
    return out;
  }

 private:
  void run_pass(Ops& ops, const std::vector<std::pair<const Sequence*, Piece>>& pieces,
                const Sequence* watched, const std::vector<int32_t>& own,
                const std::vector<int32_t>& other, TestCache& cache, Matrix& out) {
    std::vector<BatchSpan> spans;
    std::vector<uint32_t> positions;
    for (const auto& [sequence, piece] : pieces) {
      spans.push_back({.row_begin = static_cast<uint32_t>(positions.size()),
                       .row_count = piece.count,
                       .position_begin = piece.begin,
                       .form = piece.form,
                       .pages = sequence == watched ? own.data() : other.data()});
      for (uint32_t i = 0; i < piece.count; ++i) positions.push_back(piece.begin + i);
    }
    const auto rows = static_cast<uint32_t>(positions.size());
    Matrix q(act_, rows, kShape.heads * 39);
    Matrix z(act_, rows, 86);
    Matrix part(act_, rows, kShape.heads * 23);
    std::vector<uint32_t> where(rows);
    for (size_t s = 0; s < spans.size(); ++s) {
      for (uint32_t i = 0; i < spans[s].row_count; ++i) {
        const uint32_t from = pieces[s].second.begin + i;
        const uint32_t to = spans[s].row_begin + i;
        ops.copy_rows({.x = pieces[s].first->q.rows(from, 1),
                       .x_rows = nullptr,
                       .out = q.rows(to, 1),
                       .out_rows = nullptr,
                       .count = 1});
        ops.copy_rows({.x = pieces[s].first->z.rows(from, 1),
                       .x_rows = nullptr,
                       .out = z.rows(to, 1),
                       .out_rows = nullptr,
                       .count = 1});
      }
    }
    const TestBatch test_batch(spans, positions);
    const Batch batch = test_batch.view();
    ops.mla_append({.shape = kShape,
                    .rope = {.inv_freq = inv_freq_.data()},
                    .batch = batch,
                    .q = q.rows(),
                    .z = z.rows(),
                    .latent_norm = norm_.weight(),
                    .eps = 1e-6f,
                    .pages = cache.pages()});
    ops.mla_attend({.shape = kShape,
                    .batch = batch,
                    .q = q.rows(),
                    .kv_b = kv_b_.weight(),
                    .pages = cache.pages(),
                    .scale = 0.2f,
                    .out = part.rows()});
    for (size_t s = 0; s < spans.size(); ++s) {
      if (pieces[s].first != watched) continue;
      ops.copy_rows({.x = part.rows(spans[s].row_begin, spans[s].row_count),
                     .x_rows = nullptr,
                     .out = out.rows(pieces[s].second.begin, spans[s].row_count),
                     .out_rows = nullptr,
                     .count = spans[s].row_count});
    }
  }

  DType act_, pages_;
  Matrix kv_b_, norm_;
  std::vector<float> inv_freq_;
};

std::vector<std::vector<Piece>> chunks(const std::vector<uint32_t>& sizes, uint32_t generated) {
  std::vector<std::vector<Piece>> passes;
  uint32_t at = 0;
  for (const uint32_t size : sizes) {
    passes.push_back({{at, size, AttentionForm::kUnabsorbed}});
    at += size;
  }
  for (uint32_t i = 0; i < generated; ++i) {
    passes.push_back({{at++, 1, AttentionForm::kAbsorbed}});
  }
  return passes;
}

TEST_P(StrictOps, AttentionDoesNotSeeChunksCompanyPagesOrThreads) {
  struct Formats {
    DType act, weight, pages;
  };
  for (const auto& [act, weight, pages] : {Formats{DType::kBF16, DType::kF8E4M3, DType::kBF16},
                                           Formats{DType::kBF16, DType::kBF16, DType::kBF16},
                                           Formats{DType::kBF16, DType::kF8E4M3, DType::kF8E4M3},
                                           Formats{DType::kF32, DType::kF32, DType::kF32}}) {
    Random random(45);
    const Sequence sequence(random, act);
    const Sequence company(random, act);
    AttentionRun runner(act, weight, pages);
    // 320 prompt tokens in one pass (more than a query block), then ten generated.
    const Matrix whole = runner.run(one(), sequence, chunks({320}, 10), nullptr, 1);
    // The replay of a preempted sequence: all in one pass, each row in its own form.
    const std::vector<std::vector<Piece>> replay = {
        {{0, 320, AttentionForm::kUnabsorbed}, {320, 10, AttentionForm::kAbsorbed}}};
    const std::vector<std::vector<Piece>> split = {
        {{0, 100, AttentionForm::kUnabsorbed}, {100, 29, AttentionForm::kUnabsorbed}},
        {{129, 191, AttentionForm::kUnabsorbed}},
        {{320, 3, AttentionForm::kAbsorbed}},
        {{323, 7, AttentionForm::kAbsorbed}}};
    const std::vector<std::vector<std::vector<Piece>>> ways = {
        chunks({320}, 10), chunks({64, 1, 190, 65}, 10), replay, split};
    uint64_t seed = 2;
    for (Ops* ops : all_) {
      for (size_t way = 0; way < ways.size(); ++way) {
        for (const Sequence* beside : {static_cast<const Sequence*>(nullptr), &company}) {
          // An emulated GPU takes its time: every other way in company is enough there.
          if (GetParam().is_cuda && (beside == nullptr) != (way % 2 == 1)) continue;
          const Matrix other = runner.run(*ops, sequence, ways[way], beside, seed++);
          EXPECT_TRUE(other.same_bits(whole))
              << "run " << seed << ", " << ways[way].size() << " passes";
        }
      }
    }
  }
}

TEST_P(StrictOps, SamplesDoNotSeeTheirCompany) {
  Random random(46);
  const Matrix logits = Matrix::random(random, DType::kF32, 4, 400, 3.0);
  const std::vector<int32_t> history = {1, 2, 3, 2, 399};
  std::vector<SampleRow> rows(4);
  for (uint32_t i = 0; i < 4; ++i) {
    rows[i].position = i;
    rows[i].seed = 9;
    rows[i].temperature = i == 2 ? 0.0f : 1.5f;
    rows[i].top_p = 0.9f;
    rows[i].frequency_penalty = 0.3f;
    rows[i].history = history.data();
    rows[i].history_count = 5;
    rows[i].top_logprobs = 3;
  }
  std::vector<SampleResult> together(4);
  one().sample({.logits = logits.rows(), .rows = rows.data(), .results = together.data()});
  for (Ops* ops : all_) {
    for (uint32_t i = 0; i < 4; ++i) {
      SampleResult alone;
      ops->sample({.logits = logits.rows(i, 1), .rows = &rows[i], .results = &alone});
      EXPECT_EQ(alone.token, together[i].token);
      EXPECT_EQ(alone.logprob, together[i].logprob);
      EXPECT_EQ(alone.top_tokens[2], together[i].top_tokens[2]);
    }
  }
}

}  // namespace
}  // namespace dsv3::ops_test
