// TensorSource over the files of a checkpoint.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "weights.h"

namespace nvium {
namespace {

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail(std::string("could not be opened: ") + std::strerror(errno));
  }
  File(File&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }

  void read(uint64_t offset, size_t bytes, std::byte* out) const {
    while (bytes > 0) {
      const ssize_t got = pread(fd_, out, bytes, off_t(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::string("could not be read: ") + std::strerror(errno));
      if (got == 0) fail("ends before byte " + std::to_string(offset + bytes));
      out += got;
      offset += uint64_t(got);
      bytes -= size_t(got);
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Failure{"ERR_NVIUM_IO", path_ + " " + what + ".", {{"file", path_}}};
  }

  std::string path_;
  int fd_;
};

class Files final : public TensorSource {
 public:
  explicit Files(const Plan& plan) {
    files_.reserve(plan.files.size());
    for (const std::string& path : plan.files) files_.emplace_back(path);
  }

  void read(const TensorPlan& tensor, uint32_t first, uint32_t count, std::byte* out) override {
    files_[tensor.file].read(tensor.offset + first * tensor.row_bytes(), count * tensor.row_bytes(),
                             out);
  }

 private:
  std::vector<File> files_;
};

}  // namespace

std::unique_ptr<TensorSource> open_files(const Plan& plan) { return std::make_unique<Files>(plan); }

}  // namespace nvium
