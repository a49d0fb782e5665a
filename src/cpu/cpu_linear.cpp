// y = x W^T: output rows are cut into tasks; inside a task every weight row is read once per block
// of rows of x, while it is still in the nearest cache.
#include <algorithm>

#include "cpu/cpu_checks.h"
#include "cpu/cpu_ops_impl.h"

namespace dsv3 {

uint32_t CpuOps::outs_per_task(uint64_t outs_total, uint64_t cost_per_out) const {
  constexpr uint64_t kTaskCost = 1u << 16;  // multiply-adds; well above the price of a hand-out
  constexpr uint64_t kTasksPerWorker = 8;   // enough to even out workers of different speed
  constexpr uint64_t kOutsMax = 256;
  const uint64_t workers = pool_.workers();
  if (workers == 1) return static_cast<uint32_t>(std::max<uint64_t>(outs_total, 1));
  const uint64_t even = outs_total / (workers * kTasksPerWorker) + 1;
  const uint64_t worthwhile = kTaskCost / (cost_per_out + 1) + 1;
  const uint64_t outs = std::max(std::min(even, kOutsMax), worthwhile);
  return static_cast<uint32_t>((outs + 7) / 8 * 8);
}

void CpuOps::multiply(const ConstRows& x, const Weight& weight, const Rows& y, bool exact) {
  check_limit("linear", "linear_in_max", weight.cols, scratch_.width);
  const uint32_t outs = outs_per_task(weight.rows, uint64_t{weight.cols} * x.rows);
  const uint32_t tasks = (weight.rows + outs - 1) / outs;
  run(tasks, [&](uint32_t task, uint32_t worker) {
    const Panel panel = this->panel(worker);
    const uint32_t first = task * outs;
    const uint32_t count = std::min(outs, weight.rows - first);
    for (uint32_t r = 0; r < x.rows; r += kRowBlock) {
      PanelRows rows;
      rows.count = std::min(kRowBlock, x.rows - r);
      for (uint32_t i = 0; i < rows.count; ++i) rows.rows[i] = row_at(x, r + i);
      panel.prepare(rows, x.dtype, weight.cols, row_format(weight.dtype), exact);
      panel.multiply_into(weight, first, count, rows, {.rows = y, .first = r});
    }
  });
}

void CpuOps::do_linear(const LinearArgs& args) { multiply(args.x, args.weight, args.y, false); }

}  // namespace dsv3
