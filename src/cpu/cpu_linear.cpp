// y = x W^T: outputs are cut into units of some tens of kilobytes of weights, and every weight row
// is read once per block of rows of x. Linears of one input share one parallel loop.
//
// Measured with dsv3-bench --versus on the mini preset (2 threads, EPYC Zen 5, 2026-11-24, a shared
// machine), this, cpu_moe.cpp and the panels against their state before, attention the same: BF16
// decode 0.99 to 1.02 times as fast (no gain above the noise), batch 8 1.22, prefill of 512 1.47;
// F8 decode 1.33, prefill of 512 1.35.
#include <algorithm>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {

uint32_t CpuOps::outs_per_unit(uint64_t outs_total, const Weight& weight, uint32_t rows) const {
  constexpr uint64_t kUnitBytes = 32u << 10;  // a microsecond of memory: what a worker may idle
  constexpr uint64_t kUnitCost = 1u << 15;    // multiply-adds; well above the price of a hand-out
  constexpr uint64_t kOutsMax = 64;           // one block of x from the third cache for so many
  constexpr uint64_t kUnitsPerWorker = 8;     // enough to even out workers of different speed
  const uint64_t row_bytes = uint64_t{weight.cols} * dtype_bits(weight.dtype) / 8;
  const uint64_t fit = rows < kManyRows ? kUnitBytes / (row_bytes + 1) : kOutsMax;
  const uint64_t even = outs_total / (uint64_t{pool_.workers()} * kUnitsPerWorker);
  const uint64_t worthwhile = kUnitCost / (uint64_t{weight.cols} * rows + 1);
  const uint64_t outs = std::max(std::min({fit, even, kOutsMax}), worthwhile);
  return static_cast<uint32_t>((outs + 7) / 8 * 8 + (outs == 0 ? 8 : 0));
}

void CpuOps::multiply_range(const ConstRows& x, const Weight& weight, const Rows& y, bool exact,
                            const OutRange& range, const Panel& panel) const {
  const RowFormat format = row_format(weight.dtype);
  const uint32_t block = panel.rows_at_once(x.dtype, weight.cols, format, exact);
  for (uint32_t r = 0; r < x.rows; r += block) {
    PanelRows rows;
    rows.count = std::min(block, x.rows - r);
    for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = row_at(x, r + i);
    panel.prepare(rows, x.dtype, weight.cols, format, exact);
    panel.multiply_into(weight, range, rows, {.rows = y, .first = r});
  }
}

void CpuOps::multiply(std::span<const LinearArgs> all, bool exact) {
  uint64_t outs_total = 0;
  for (const LinearArgs& args : all) {
    check_limit("linear", "linear_in_max", args.weight.cols, scratch_.width);
    outs_total += args.weight.rows;
  }
  const auto units_of = [&](const LinearArgs& args, uint32_t& outs) {
    outs = outs_per_unit(outs_total, args.weight, args.x.rows);
    return (args.weight.rows + outs - 1) / outs;
  };
  uint32_t units = 0;
  uint32_t outs = 0;
  for (const LinearArgs& args : all) units += units_of(args, outs);
  run_stretches(
      units, all[0].x.rows < kManyRows, [&](uint32_t begin, uint32_t end, uint32_t worker) {
        uint32_t base = 0;  // the linear's first unit
        for (size_t i = 0; i < all.size() && base < end; ++i) {
          const LinearArgs& args = all[i];
          uint32_t each = 0;
          const uint32_t of = units_of(args, each);
          const uint32_t from = std::max(begin, base) - base;
          const uint32_t to = std::min(end, base + of) - base;
          base += of;
          if (from >= to) continue;
          const Weight* after = i + 1 < all.size() ? &all[i + 1].weight : nullptr;
          multiply_range(args.x, args.weight, args.y, exact,
                         out_range(args.weight, from * each, to * each, after), panel(worker));
        }
      });
}

void CpuOps::do_linear(const LinearArgs& args) { multiply({&args, 1}, false); }

void CpuOps::do_linears(std::span<const LinearArgs> all) { multiply(all, false); }

}  // namespace dsv3
