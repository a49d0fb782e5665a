// Which row, heads and splits is the n-th work item of absorbed attention? Read from the plan that
// mla_absorb made.
#pragma once

#include "kernels/common/device_code.h"
#include "kernels/mla_decode.h"

namespace dsv3::kernels {

struct SplitItem {
  uint32_t row = 0;    // of the launch
  uint32_t group = 0;  // of heads
  uint32_t split_begin = 0;
  uint32_t split_end = 0;
  uint32_t slot = 0;      // of the result
  uint32_t position = 0;  // of the row: its last key
  const int32_t* pages = nullptr;
};

// `item` is below groups * items of all rows.
__device__ __forceinline__ SplitItem split_item(const MlaDecodeParams& params, uint32_t groups,
                                                uint32_t item) {
  SplitItem result;
  result.group = item % groups;
  const uint32_t work = item / groups;
  uint32_t end = params.row_count;  // the last row that begins at or before `work` is below it
  while (end - result.row > 1) {
    const uint32_t middle = (result.row + end) / 2;
    if (params.plan[middle].item_begin <= work) {
      result.row = middle;
    } else {
      end = middle;
    }
  }
  const SplitPlan plan = params.plan[result.row];
  const bool is_folded = plan.items < plan.splits;
  result.split_begin = is_folded ? 0 : work - plan.item_begin;
  result.split_end = is_folded ? plan.splits : result.split_begin + 1;
  result.slot =
      result.split_begin == 0 ? result.row : kDecodeRows + plan.extra + result.split_begin - 1;
  const uint32_t row = params.row_begin + result.row;
  const Span& span = params.spans[params.row_spans[row]];
  result.position = span.position_begin + (row - span.row_begin);
  result.pages = span.pages;
  return result;
}

}  // namespace dsv3::kernels
