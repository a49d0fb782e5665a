#include "ops/round_trip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "base/checked.h"

namespace dsv3::ops_test {
namespace {

constexpr uint64_t kRowAlignment = 16;

uint64_t element_bytes(DType dtype) { return dtype_bits(dtype) / 8; }

// Bytes of one page; those of the two formats of LatentPages.
uint64_t page_bytes(const LatentPages& pages, const MlaShape& shape) {
  if (pages.dtype == DType::kF8E4M3) return latent_page_bytes_f8(shape);
  return uint64_t{pages.width} * kPageTokens * element_bytes(pages.dtype);
}

}  // namespace

void* RoundTrip::empty(uint64_t bytes) {
  const std::vector<std::byte> nothing(bytes, std::byte{0xff});
  return send(nothing.data(), bytes);
}

void* RoundTrip::send(const void* host, uint64_t bytes) {
  // Never null: an op may insist on a pointer for no elements.
  blocks_.push_back(device_.allocate(std::max<uint64_t>(bytes, 1), "a test's argument"));
  void* device = blocks_.back().data();
  device_.copy_to_device(device, host, bytes);
  device_.synchronize();
  return device;
}

void RoundTrip::fetch(void* host, const void* device, uint64_t bytes) {
  device_.copy_to_host(host, device, bytes);
  device_.synchronize();
}

void RoundTrip::finish() {
  device_.synchronize();
  for (const auto& fetch : fetches_) fetch();
}

// --- matrices

RoundTrip::DeviceRows RoundTrip::rows_of(const ConstRows& host, bool with_contents) {
  DeviceRows out;
  out.view = {nullptr, host.dtype, host.rows, host.cols, 0};
  if (host.data == nullptr) return out;
  const uint64_t element = element_bytes(host.dtype);
  const uint64_t padded = align_up(host.cols * element, kRowAlignment);
  const uint64_t stride = padded + kRowAlignment;
  out.view.stride = stride / element;
  out.bytes = host.rows == 0 ? 0 : (host.rows - 1) * stride + padded;
  std::vector<std::byte> packed(out.bytes, std::byte{0xff});
  for (uint32_t r = 0; with_contents && r < host.rows; ++r) {
    std::memcpy(&packed[r * stride],
                static_cast<const std::byte*>(host.data) + r * host.stride * element,
                host.cols * element);
  }
  out.view.data = send(packed.data(), packed.size());
  return out;
}

Rows RoundTrip::writable(const Rows& host, bool with_contents) {
  const DeviceRows there = rows_of(host, with_contents);
  if (host.data != nullptr) {
    fetches_.push_back([this, host, there] { fetch_rows(host, there); });
  }
  return there.view;
}

void RoundTrip::fetch_rows(const Rows& host, const DeviceRows& from) {
  std::vector<std::byte> packed(from.bytes);
  fetch(packed.data(), from.view.data, packed.size());
  const uint64_t element = element_bytes(host.dtype);
  const uint64_t row_bytes = host.cols * element;
  for (uint32_t r = 0; r < host.rows; ++r) {
    const uint64_t begin = r * from.view.stride * element;
    const uint64_t end = std::min(begin + from.view.stride * element, from.bytes);
    std::memcpy(static_cast<std::byte*>(host.data) + r * host.stride * element, &packed[begin],
                row_bytes);
    const auto is_changed = [](std::byte byte) { return byte != std::byte{0xff}; };
    EXPECT_TRUE(std::none_of(packed.begin() + static_cast<ptrdiff_t>(begin + row_bytes),
                             packed.begin() + static_cast<ptrdiff_t>(end), is_changed))
        << "an op wrote behind the " << host.cols << " columns of row " << r;
  }
}

QuantRows RoundTrip::codes_of(const QuantRows& host, uint32_t rows, bool is_output) {
  if (!host.present()) return {};
  QuantRows there = host;
  const uint64_t codes = rows * host.stride;
  const uint64_t scales = rows * host.scale_stride;
  there.codes = is_output ? out(host.codes, codes) : in(host.codes, codes);
  there.scales = is_output ? out(host.scales, scales) : in(host.scales, scales);
  return there;
}

// --- weights

Weight RoundTrip::in(const Weight& host) {
  if (!host.present()) return {};
  const Shape shape{host.rows, host.cols};
  blocks_.push_back(device_.allocate(device_.weight_bytes(shape, host.dtype), "a test's weight"));
  const Weight there = device_.place(shape, host.dtype, blocks_.back().data());
  const uint64_t element = element_bytes(host.dtype);
  const uint64_t row_bytes = host.cols * element;
  std::vector<std::byte> packed(host.rows * row_bytes);
  for (uint32_t r = 0; r < host.rows; ++r) {
    std::memcpy(&packed[r * row_bytes],
                static_cast<const std::byte*>(host.data) + r * host.stride * element, row_bytes);
  }
  device_.upload(there, 0, packed.data(), packed.size());
  if (host.scales == nullptr) return there;
  std::vector<float> scales;
  for (uint32_t r = 0; r < ceil_div(host.rows, kBlock); ++r) {
    const float* row = host.scales + r * host.scale_stride;
    scales.insert(scales.end(), row, row + ceil_div(host.cols, kBlock));
  }
  device_.upload_scales(there, scales.data());
  return there;
}

const ExpertWeights* RoundTrip::in(const ExpertWeights* host, uint32_t count) {
  std::vector<ExpertWeights> there;
  for (uint32_t e = 0; e < count; ++e) {
    there.push_back({in(host[e].gate), in(host[e].up), in(host[e].down)});
  }
  return static_cast<const ExpertWeights*>(send(there.data(), count * sizeof(ExpertWeights)));
}

// --- batches and pages

Batch RoundTrip::in(const Batch& host) {
  Batch there = host;
  host_spans_.assign(host.host_spans, host.host_spans + host.span_count);
  for (BatchSpan& span : host_spans_) {
    span.pages = in(span.pages, ceil_div(span.position_begin + span.row_count, kPageTokens));
  }
  there.tokens = in(host.tokens, host.rows);
  there.positions = in(host.positions, host.rows);
  there.spans = in(host_spans_.data(), host.span_count);
  there.row_spans = in(host.row_spans, host.rows);
  there.host_spans = host_spans_.data();
  return there;
}

LatentPages RoundTrip::in(const LatentPages& host, const MlaShape& shape) {
  LatentPages there = host;
  const uint64_t unit = host.dtype == DType::kF8E4M3 ? 1 : element_bytes(host.dtype);
  const uint64_t stride = align_up(page_bytes(host, shape), kRowAlignment);
  there.page_stride = stride / unit;
  std::vector<std::byte> packed(host.page_count * stride, std::byte{0xff});
  for (uint32_t p = 0; p < host.page_count; ++p) {
    std::memcpy(&packed[p * stride],
                static_cast<const std::byte*>(host.data) + p * host.page_stride * unit,
                page_bytes(host, shape));
  }
  there.data = send(packed.data(), packed.size());
  return there;
}

LatentPages RoundTrip::in_out(const LatentPages& host, const MlaShape& shape) {
  const LatentPages there = in(host, shape);
  const uint64_t unit = host.dtype == DType::kF8E4M3 ? 1 : element_bytes(host.dtype);
  fetches_.push_back([this, host, there, unit, bytes = page_bytes(host, shape)] {
    for (uint32_t p = 0; p < host.page_count; ++p) {
      fetch(static_cast<std::byte*>(host.data) + p * host.page_stride * unit,
            static_cast<const std::byte*>(there.data) + p * there.page_stride * unit, bytes);
    }
  });
  return there;
}

}  // namespace dsv3::ops_test
