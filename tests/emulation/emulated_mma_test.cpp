// Goal: the emulated tensor-core products place and multiply as the PTX manual says. Method: random
// matrices are laid into fragments element by element by the manual's index formulas, the result is
// compared bit for bit with a naive product in the same order.
#include <random>

#include "emulation/emulation_fixture.h"
#include "kernels/common/matrix_load.h"
#include "kernels/common/mma.h"
#include "kernels/common/numeric.h"

namespace dsv3::emulation_test {
namespace {

struct Fragments {
  uint32_t a[32][4];
  uint32_t b[32][2];
  float d[32][4];
};

__global__ void mma_kernel(Fragments* fragments, bool bf16) {
  const uint32_t lane = threadIdx.x % 32;
  Fragments& own = fragments[threadIdx.x / 32];
  if (bf16) {
    kernels::mma_bf16(own.d[lane], own.a[lane], own.b[lane]);
  } else {
    kernels::mma_e4m3(own.d[lane], own.a[lane], own.b[lane]);
  }
}

// An element's place: PTX ISA, "Matrix fragments for mma.m16n8k16" (.bf16) and "... m16n8k32"
// (.e4m3); i counts the elements that one lane holds.
struct Place {
  uint32_t row;
  uint32_t col;
};
Place place_of_a(uint32_t lane, uint32_t i, bool bf16) {
  const uint32_t group = lane >> 2;
  const uint32_t thread = lane % 4;
  if (bf16) {
    const bool upper = i < 2 || (i >= 4 && i < 6);
    return {upper ? group : group + 8, thread * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
  }
  const bool upper = i < 4 || (i >= 8 && i < 12);
  return {upper ? group : group + 8, thread * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
}
Place place_of_b(uint32_t lane, uint32_t i, bool bf16) {
  const uint32_t group = lane >> 2;
  const uint32_t thread = lane % 4;
  if (bf16) return {thread * 2 + (i & 1) + (i >= 2 ? 8 : 0), group};
  return {thread * 4 + (i & 3) + (i >= 4 ? 16 : 0), group};
}
Place place_of_d(uint32_t lane, uint32_t i) {
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

// One product with elements as stored.
class Product {
 public:
  Product(std::mt19937& random, bool bf16) : bf16_(bf16), depth_(bf16 ? 16 : 32) {
    for (auto& value : a_) value = element(random);
    for (auto& value : b_) value = element(random);
    for (auto& value : d_) value = std::normal_distribution<float>()(random);
  }

  Fragments fragments() const {
    Fragments out = {};
    const uint32_t bits = bf16_ ? 16 : 8;
    const uint32_t per_word = 32 / bits;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      for (uint32_t i = 0; i < 4 * per_word; ++i) {
        const auto [row, k] = place_of_a(lane, i, bf16_);
        out.a[lane][i / per_word] |= a_[row * 32 + k] << (i % per_word * bits);
      }
      for (uint32_t i = 0; i < 2 * per_word; ++i) {
        const auto [k, col] = place_of_b(lane, i, bf16_);
        out.b[lane][i / per_word] |= b_[k * 8 + col] << (i % per_word * bits);
      }
      for (uint32_t i = 0; i < 4; ++i) {
        const auto [row, col] = place_of_d(lane, i);
        out.d[lane][i] = d_[row * 8 + col];
      }
    }
    return out;
  }

  float result(uint32_t row, uint32_t col) const {
    float sum = d_[row * 8 + col];
    for (uint32_t k = 0; k < depth_; ++k) sum += value(a_[row * 32 + k]) * value(b_[k * 8 + col]);
    return sum;
  }

 private:
  float value(uint32_t bits) const {
    return bf16_ ? kernels::bf16_to_float(static_cast<uint16_t>(bits))
                 : kernels::e4m3_to_float(static_cast<uint8_t>(bits));
  }
  uint32_t element(std::mt19937& random) const {
    if (bf16_) return kernels::bf16_from_float(std::normal_distribution<float>()(random));
    const uint32_t byte = random() & 0xffu;
    return (byte & 0x7fu) == 0x7fu ? 0 : byte;  // no NaN, which no comparison would see
  }

  bool bf16_;
  uint32_t depth_;
  uint32_t a_[16 * 32];  // [16, depth], 32 apart
  uint32_t b_[32 * 8];   // [depth, 8]
  float d_[16 * 8];
};

class EmulatedMmaTest : public EmulationTest {
 protected:
  void expect_products(bool bf16) {
    std::mt19937 random(5);
    constexpr uint32_t kWarps = 4;
    for (uint32_t round = 0; round < 5; ++round) {
      std::vector<Product> products;
      Array<Fragments> fragments(stream_, kWarps);
      for (uint32_t w = 0; w < kWarps; ++w) {
        products.emplace_back(random, bf16);
        fragments.host()[w] = products[w].fragments();
      }
      fragments.upload();
      ASSERT_EQ(kernels::launch(mma_kernel, block(32 * kWarps), fragments.device(), bf16), 0);
      fragments.download();
      for (uint32_t w = 0; w < kWarps; ++w) {
        for (uint32_t i = 0; i < 128; ++i) {
          const auto [row, col] = place_of_d(i / 4, i % 4);
          EXPECT_EQ(fragments.host()[w].d[i / 4][i % 4], products[w].result(row, col))
              << "row " << row << " column " << col;
        }
      }
    }
  }
};

TEST_F(EmulatedMmaTest, Bf16) { expect_products(true); }
TEST_F(EmulatedMmaTest, E4m3) { expect_products(false); }

TEST_F(EmulatedMmaTest, E4m3NeedsCapability89) {
  emulator::set_capability(8, 0);
  Array<Fragments> fragments(stream_, 1);
  ASSERT_EQ(kernels::launch(mma_kernel, block(32), fragments.device(), false), 0);
  fragments.download();
  for (const auto& lane : fragments.host()[0].d) {
    for (const float value : lane) EXPECT_TRUE(std::isnan(value));
  }
}

__global__ void matrix_kernel(uint32_t* out, uint32_t skew) {
  auto* const elements = &kernels::shared_memory<uint16_t>();  // [32, 8], rows 24 apart
  const uint32_t lane = threadIdx.x;
  for (uint32_t col = 0; col < 8; ++col) {
    elements[lane * 24 + col] = static_cast<uint16_t>(lane * 100 + col);
  }
  __syncthreads();
  uint32_t plain[4];
  uint32_t transposed[4];
  kernels::load_matrices(plain, elements + lane * 24 + skew);
  kernels::load_matrices_transposed(transposed, elements + lane * 24);
  for (uint32_t m = 0; m < 4; ++m) {
    out[lane * 8 + m] = plain[m];
    out[lane * 8 + 4 + m] = transposed[m];
  }
}

// PTX ISA, ldmatrix: thread i holds elements (i / 4, 2 (i % 4)) and the next; with .trans those of
// the transposed matrix.
TEST_F(EmulatedMmaTest, MatricesFromSharedMemory) {
  Array<uint32_t> out(stream_, 32 * 8);
  ASSERT_EQ(kernels::launch(matrix_kernel, block(32, 32 * 48), out.device(), 0u), 0);
  out.download();
  const auto element = [](uint32_t m, uint32_t row, uint32_t col) {
    return (m * 8 + row) * 100 + col;
  };
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t row = lane / 4;
    const uint32_t col = lane % 4 * 2;
    for (uint32_t m = 0; m < 4; ++m) {
      EXPECT_EQ(out.host()[lane * 8 + m], element(m, row, col) | element(m, row, col + 1) << 16);
      EXPECT_EQ(out.host()[lane * 8 + 4 + m], element(m, col, row) | element(m, col + 1, row)
                                                                         << 16);
    }
  }
}

TEST_F(EmulatedMmaTest, MatrixRowsMustBeAligned) {
  Array<uint32_t> out(stream_, 32 * 8);
  kernels::launch(matrix_kernel, block(32, 32 * 48), out.device(), 4u);
  EXPECT_NE(failure().find("ldmatrix"), std::string::npos) << failure();
}

__global__ void lonely_mma_kernel() {
  float d[4] = {};
  const uint32_t a[4] = {};
  const uint32_t b[2] = {};
  if (threadIdx.x != 7) kernels::mma_bf16(d, a, b);
}

TEST_F(EmulatedMmaTest, AllLanesMustTakePart) {
  kernels::launch(lonely_mma_kernel, block(32));
  EXPECT_NE(failure().find("mma_bf16"), std::string::npos) << failure();
}

}  // namespace
}  // namespace dsv3::emulation_test
