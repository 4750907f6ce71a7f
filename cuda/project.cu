// Projections of 1 … 16 rows: a product, what comes before it (RMSNorm) and after it (bias,
// activation, residual). output[rows, width]. Reads every weight once, the input once a chunk and
// range of tiles (all of it under a norm), and writes the output once. One launch.
#include "epilogue.cuh"
#include "project.cuh"

namespace nvium::cuda {
namespace {

template <MatrixType kType, int kRows>
__global__ void __launch_bounds__(kMostWarps* kWarp, 2)
    project_kernel(const Product p, const Spread spread) {
  NV_DYN_SMEM(shared);
  nv::grid_dependency_trigger();
  Pass<kType, kRows> work(p, spread, shared);
  work.run([&](uint32_t row, uint32_t column, const float(&totals)[4], const float(&ups)[4]) {
    store(p, row, column, totals, ups);
  });
}

struct ProjectLaunch {
  const Machine& machine;
  const Product& product;
  const Scratch& scratch;
  cudaStream_t stream;

  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const Grid grid = grid_of<kType, kRows>(machine, product);
    return nv::launch(project_kernel<kType, kRows>, grid.blocks(), grid.threads(), stream,
                      {.shared = grid.shared, .dependent = machine.dependent}, product,
                      Spread{scratch.sums, scratch.tickets, grid.share});
  }
};

struct Prepare {
  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    return nv::load_with(project_kernel<kType, kRows>, kSharedMost);
  }
};

}  // namespace

Product product_of(const Projection& p) {
  return {p.matrix->tiles, p.matrix->cols, p.width, p.rows,     p.epsilon, p.input,
          p.norm,          p.normed,       p.bias,  p.residual, p.output,  p.activation};
}

size_t project_scratch(const Product& p) {
  const size_t tile_floats = size_t(p.rows) * kTileRows;
  if (p.rows > kPassRows) return p.norm != nullptr ? p.rows * sizeof(float) : 0;
  return chunk_count(p.cols) * p.tile_count() * tile_floats * sizeof(float);
}

cudaError_t prepare_projections() {
  const cudaError_t error = for_every_shape(Prepare{});
  return error != cudaSuccess ? error : prepare_panels();
}

cudaError_t project(const Machine& machine, MatrixType type, const Product& product,
                    const Scratch& scratch, cudaStream_t stream) {
  if (product.rows > kPassRows) return project_panels(machine, type, product, scratch, stream);
  return for_shape(type, product.rows, ProjectLaunch{machine, product, scratch, stream});
}

}  // namespace nvium::cuda
