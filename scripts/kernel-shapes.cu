// Prints "kernel|threads|bytes of dynamic shared memory" as each kernel is launched for the 1.5B
// shape (d 1536, ffn 4096, heads of 128), for scripts/check-kernels.js. Needs no GPU.
#include <cstdio>
#include <string>

#include "../cuda/attend.cu"
#include "../cuda/project.cuh"

namespace {

using namespace nvium;
using namespace nvium::cuda;

constexpr uint32_t kHidden = 1536, kFeedForward = 4096, kVocab = 32000, kHeadDim = 128;
constexpr Machine kMachine{132};

void print(const std::string& kernel, uint32_t threads, size_t shared) {
  std::printf("%s|%u|%zu\n", kernel.c_str(), threads, shared);
}

std::string name_of(MatrixType type) {
  return type == MatrixType::bf16 ? "bf16" : type == MatrixType::f16 ? "f16" : "f32";
}

struct PrintProducts {
  uint32_t rows;

  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const auto grid = [&](uint32_t cols, uint32_t width) {
      Product product{};
      product.cols = cols, product.width = width, product.rows = rows;
      return grid_of<kType, kRows>(kMachine, product);
    };
    const std::string instance =
        " " + name_of(kType) + " " + std::to_string(kRows) + (kRows == 1 ? " row" : " rows");
    const Grid down = grid(kFeedForward, kHidden), head = grid(kHidden, kVocab);
    print("project_kernel" + instance, down.warps * kWarp, down.shared);
    print("head_kernel" + instance, head.warps * kWarp, head.shared);
    return cudaSuccess;
  }
};

// A head of its own for each query head: 16 rows that are decoded, and a prompt's 256.
template <CacheType kType>
void print_attention() {
  const std::string type = kType == CacheType::bf16 ? " bf16" : " f32";
  print("attend_kernel" + type, kAttendThreads, Attend<kType>::shared_bytes(kHeadDim, kPassRows));
  print("walk_kernel" + type, kAttendThreads,
        walk_bytes<kType>(kHeadDim, walk_capacity<kType>(kHeadDim, 256)));
}

}  // namespace

int main() {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t rows : {1, 2, 4, 8, 16}) for_shape(type, rows, PrintProducts{rows});
  }
  print_attention<CacheType::bf16>();
  print_attention<CacheType::f32>();
  return 0;
}
