// The operations on single rows: tokens, embedding, norms, SwiGLU, copies. Each is one launch.
#include "cuda/cuda_ops_impl.h"
#include "kernels/norm.h"
#include "kernels/rows.h"

namespace dsv3 {

void CudaOps::do_take_tokens(const TakeTokensArgs& args) {
  device_.enter();
  launched(kernels::launch_take_tokens_any({.rows = args.rows,
                                            .tokens = args.tokens,
                                            .slots = args.slots,
                                            .positions = args.positions,
                                            .history = args.history,
                                            .stride = args.stride},
                                           stream()),
           "take_tokens");
}

void CudaOps::do_embed(const EmbedArgs& args) {
  device_.enter();
  launched(kernels::launch_embed_any({.tokens = args.tokens,
                                      .table = kernel_weights(args.table),
                                      .out = kernel_matrix(args.out)},
                                     stream()),
           "embed");
}

void CudaOps::do_add_norm(const AddNormArgs& args) {
  device_.enter();
  launched(kernels::launch_norm_any({.x = kernel_matrix(ConstRows(args.residual)),
                                     .h = kernel_matrix(args.h),
                                     .sum = kernel_matrix(args.residual),
                                     .weight = kernel_weights(args.weight),
                                     .eps = args.eps,
                                     .out = kernel_matrix(args.out),
                                     .codes = kernel_codes(args.out_codes)},
                                    stream()),
           "add_norm");
}

void CudaOps::do_rms_norm(const RmsNormArgs& args) {
  device_.enter();
  launched(kernels::launch_norm_any({.x = kernel_matrix(args.x),
                                     .h = {},
                                     .sum = {},
                                     .weight = kernel_weights(args.weight),
                                     .eps = args.eps,
                                     .out = kernel_matrix(args.out),
                                     .codes = {}},
                                    stream()),
           "rms_norm");
}

void CudaOps::do_swiglu(const SwigluArgs& args) {
  device_.enter();
  launched(kernels::launch_swiglu_any({.gate = kernel_matrix(args.gate),
                                       .up = kernel_matrix(args.up),
                                       .out = kernel_matrix(args.out)},
                                      stream()),
           "swiglu");
}

void CudaOps::do_copy_rows(const CopyRowsArgs& args) {
  device_.enter();
  launched(kernels::launch_copy_rows_any({.x = kernel_matrix(args.x),
                                          .x_rows = args.x_rows,
                                          .out = kernel_matrix(args.out),
                                          .out_rows = args.out_rows,
                                          .count = args.count},
                                         stream()),
           "copy_rows");
}

}  // namespace dsv3
