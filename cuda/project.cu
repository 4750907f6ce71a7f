// Projections: a product, what comes before it (RMSNorm) and after it (bias, activation, residual).
//
//   project        output[rows, width]. Reads every weight once a pass of 16 rows, the input once a
//                  block (twice under a norm), and writes the output once. One launch.
//   project_twice  a second projection of the first one's output, done by the block that ends last
//                  on each pass: for the router, whose last product has two outputs. It sees the
//                  first output because each block puts a fence between its writes and its ticket.
#include "project.cuh"

namespace nvium::cuda {
namespace {

template <MatrixType kType, int kRows>
__device__ __forceinline__ void project_tiles(const Product& p, uint32_t pass, uint32_t first,
                                              uint32_t step, unsigned char* shared) {
  Pass<kType, kRows> work(p, pass * kRows, shared);
  work.run(first, step, first == 0, [&](uint32_t row, uint32_t column, float total, float up) {
    if (column >= p.width) return;
    p.output[size_t(row) * p.width + column] = work.finished(row, column, total, up);
  });
}

template <MatrixType kType, int kRows>
__global__ void __launch_bounds__(kMostWarps* kWarp, 1)
    project_kernel(const Product p, const uint32_t passes) {
  NV_DYN_SMEM(shared);
  project_tiles<kType, kRows>(p, blockIdx.x % passes, blockIdx.x / passes, gridDim.x / passes,
                              shared);
}

template <MatrixType kType, int kRows>
__global__ void __launch_bounds__(kMostWarps* kWarp, 1)
    project_twice_kernel(const Product first, const Product second, uint32_t* const tickets,
                         const uint32_t passes) {
  NV_DYN_SMEM(shared);
  const uint32_t pass = blockIdx.x % passes, blocks = gridDim.x / passes;
  project_tiles<kType, kRows>(first, pass, blockIdx.x / passes, blocks, shared);
  if (last_of(blocks, tickets + pass)) project_tiles<kType, kRows>(second, pass, 0, 1, shared);
}

struct ProjectLaunch {
  const Machine& machine;
  const Product& product;
  cudaStream_t stream;

  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const Grid grid = grid_of<kType, kRows>(machine, product);
    return nv::launch(project_kernel<kType, kRows>, grid.blocks(), grid.threads(), stream,
                      {.shared = grid.shared}, product, grid.passes);
  }
};

struct TwiceLaunch {
  const Machine& machine;
  const Product &first, &second;
  uint32_t* tickets;
  cudaStream_t stream;

  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const Grid grid = grid_of<kType, kRows>(machine, first);
    return nv::launch(project_twice_kernel<kType, kRows>, grid.blocks(), grid.threads(), stream,
                      {.shared = grid.shared}, first, second, tickets, grid.passes);
  }
};

struct Prepare {
  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const auto allow = [](auto* kernel) {
      return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, int(kSharedMost));
    };
    const cudaError_t error = allow(project_kernel<kType, kRows>);
    return error != cudaSuccess ? error : allow(project_twice_kernel<kType, kRows>);
  }
};

}  // namespace

Product product_of(const Projection& p) {
  return {p.matrix->tiles, p.matrix->cols, p.width, p.rows,     p.epsilon, p.input,
          p.norm,          p.normed,       p.bias,  p.residual, p.output,  p.activation};
}

cudaError_t prepare_projections() { return for_every_shape(Prepare{}); }

cudaError_t project(const Machine& machine, MatrixType type, const Product& product,
                    cudaStream_t stream) {
  return for_shape(type, product.rows, ProjectLaunch{machine, product, stream});
}

cudaError_t project_twice(const Machine& machine, MatrixType type, const Product& first,
                          const Product& second, uint32_t* tickets, cudaStream_t stream) {
  return for_shape(type, first.rows, TwiceLaunch{machine, first, second, tickets, stream});
}

}  // namespace nvium::cuda
