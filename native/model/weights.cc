#include "weights.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <unordered_set>

#include "quantise.h"
#include "stored.h"

namespace nvium {
namespace {

// One stored tensor's place in a packed matrix: its rows go to consecutive rows from `first_row`
// on, or, for one of a pair whose tiles take turns, to every second tile.
struct Part {
  TensorIndex tensor;
  uint32_t first_row;
  bool paired;

  uint32_t row(uint32_t r) const {
    return paired ? first_row + r / kTileRows * 2 * kTileRows + r % kTileRows : first_row + r;
  }
};

// A matrix or vector to be filled once memory is there.
struct Item {
  size_t offset;
  std::vector<Part> parts;
  Matrix* matrix;        // null for a vector
  const float** vector;  // null for a matrix
};

[[noreturn]] void refuse(const Plan& plan, const TensorPlan& tensor, const std::string& what) {
  const std::string& file = plan.files[tensor.file];
  throw Failure{"ERR_NVIUM_MODEL_FORMAT",
                file + ": tensor " + tensor.name + " " + what + ".",
                {{"file", file}, {"tensor", tensor.name}}};
}

MatrixType packed_as(StoredType type) {
  switch (type) {
    case StoredType::bf16:
      return MatrixType::bf16;
    case StoredType::f16:
      return MatrixType::f16;
    case StoredType::f32:
      return MatrixType::f32;
    case StoredType::int8:
      return MatrixType::int8;
    case StoredType::int4:
      break;
  }
  return MatrixType::int4;
}

// Whether a matrix of such a tensor is quantised while it is read.
bool quantises(const Plan& plan, StoredType stored) {
  return plan.matrices != Matrices::as_stored && !holds_integers(stored);
}

// Puts row-major row `data` into row `row` of a tile.
void place(MatrixType type, uint32_t row, uint32_t cols, const std::byte* data, std::byte* tile) {
  const size_t size = bytes_of(type);
  if (type == MatrixType::bf16) {
    uint32_t* out = reinterpret_cast<uint32_t*>(tile) + row;
    for (uint32_t p = 0; p < cols / 2; p++) std::memcpy(out + p * kTileRows, data + p * 4, 4);
    if (cols & 1) {
      std::memcpy(tile + tile_index(type, row, cols - 1) * size, data + (cols - 1) * size, size);
    }
  } else if (type == MatrixType::f16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(tile) + row;
    for (uint32_t k = 0; k < cols; k++) std::memcpy(out + k * kTileRows, data + k * 2, 2);
  } else {
    float* out = reinterpret_cast<float*>(tile) + row;
    for (uint32_t k = 0; k < cols; k++) std::memcpy(out + k * kTileRows, data + k * 4, 4);
  }
}

// Puts a row of integers, and the scales of its groups, into row `row` of a tile of padding.
void place_integers(MatrixType type, uint32_t row, uint32_t cols, const int8_t* integers,
                    const uint16_t* scales, std::byte* tile) {
  const uint32_t group = group_columns(type);
  for (uint32_t begin = 0; begin < cols; begin += group) {
    const uint32_t count = std::min(group, cols - begin);
    std::memcpy(tile + row * sizeof(uint16_t), scales++, sizeof(uint16_t));
    tile += kScalesBytes;
    for (uint32_t k = 0; k < count; k++) {
      const int value = integers[begin + k];
      if (type == MatrixType::int8) {
        tile[(k / 4 * kTileRows + row) * 4 + k % 4] = std::byte(value + 128);
      } else {
        std::byte& both = tile[(k / 8 * kTileRows + row) * 4 + k % 4];
        both = k % 8 < 4 ? (both & std::byte{0xf0}) | std::byte(value + 8)
                         : (both & std::byte{0x0f}) | std::byte((value + 8) << 4);
      }
    }
    tile += ceil_div(count, kIntegerBlock) * block_bytes(type);
  }
}

// A tile that holds the integer 0, and scales of 0.
void clear_integers(MatrixType type, uint32_t cols, std::byte* tile) {
  const uint32_t group = group_columns(type);
  for (uint32_t begin = 0; begin < cols; begin += group) {
    const size_t bytes = ceil_div(std::min(group, cols - begin), kIntegerBlock) * block_bytes(type);
    std::memset(tile, 0, kScalesBytes);
    std::memset(tile + kScalesBytes, type == MatrixType::int4 ? 0x88 : 0x80, bytes);
    tile += kScalesBytes + bytes;
  }
}

// Lays the weights out, then reads and packs them.
class Loader {
 public:
  Loader(Backend& backend, const Plan& plan, TensorSource& source, const Control& control)
      : backend_(backend), plan_(plan), source_(source), control_(control) {}

  Weights load() {
    Weights w;
    lay_out(w);
    w.memory = Buffer(backend_, bytes_);
    for (const auto& [a, b] : plan_.must_equal) compare(plan_.tensors[a], plan_.tensors[b]);
    for (const Item& item : items_) {
      std::byte* at = w.memory.data() + item.offset;
      if (item.matrix != nullptr) {
        item.matrix->tiles = at;
        if (holds_integers(item.matrix->type)) w.integer_bytes += item.matrix->bytes();
        fill_matrix(item, at);
      } else {
        *item.vector = reinterpret_cast<const float*>(at);
        fill_vector(item, at);
      }
    }
    for (const auto& tie : ties_) tie();
    return w;
  }

 private:
  void lay_out(Weights& w) {
    // Pointers into these are kept, so they take their final sizes first.
    w.layers.resize(plan_.layers);
    w.outlets.resize(plan_.segments());
    w.routers.resize(plan_.exits.size());
    stored_matrix(w.embedding, {{plan_.embedding, 0, false}});
    for (uint32_t m = 0; m < plan_.segments(); m++) {
      for (uint32_t i = plan_.segment_begin(m); i < plan_.segment_end(m); i++) {
        layer(w.layers[i], plan_.layer_plans[i]);
      }
      if (m < plan_.exits.size()) router(w.routers[m], plan_.exits[m].router);
      outlet(w, w.outlets[m], m < plan_.exits.size() ? plan_.exits[m].outlet : plan_.final);
      // A router reads what its exit's outlet reads: the rows under the same norm.
      if (m < plan_.exits.size()) {
        ties_.push_back([&w, m] { w.routers[m].input_norm = w.outlets[m].norm; });
      }
    }
  }

  void layer(Layer& layer, const LayerPlan& p) {
    vector(layer.input_norm, p.input_norm);
    const uint32_t queries = plan_.tensors[p.query].rows, keys = plan_.tensors[p.key].rows;
    matrix(layer.qkv,
           {{p.query, 0, false}, {p.key, queries, false}, {p.value, queries + keys, false}});
    matrix(layer.output, {{p.output, 0, false}});
    vector(layer.post_norm, p.post_norm);
    matrix(layer.gate_up, {{p.gate, 0, true}, {p.up, kTileRows, true}});
    matrix(layer.down, {{p.down, 0, false}});
  }

  void router(Router& router, const RouterPlan& p) {
    router.blocks.resize(p.blocks.size());
    for (size_t i = 0; i < p.blocks.size(); i++) {
      stored_matrix(router.blocks[i].fc1, {{p.blocks[i].fc1_weight, 0, false}});
      vector(router.blocks[i].bias1, p.blocks[i].fc1_bias);
      stored_matrix(router.blocks[i].fc2, {{p.blocks[i].fc2_weight, 0, false}});
      vector(router.blocks[i].bias2, p.blocks[i].fc2_bias);
    }
    vector(router.norm, p.norm);
    stored_matrix(router.head, {{p.head_weight, 0, false}});
    vector(router.bias, p.head_bias);
  }

  void outlet(Weights& w, Outlet& outlet, const OutletPlan& p) {
    vector(outlet.norm, p.norm);
    if (p.adapter) {
      outlet.adapter.emplace();
      matrix(outlet.adapter->up, {{p.adapter->up, 0, false}});
      matrix(outlet.adapter->down, {{p.adapter->down, 0, false}});
    }
    // A head that is tied shares the tiles of the first matrix made of its tensor; but those of the
    // table, which stay as stored, only where heads do.
    const bool shares = p.head == plan_.embedding && !quantises(plan_, plan_.tensors[p.head].type);
    const Matrix* tied = shares ? &w.embedding : nullptr;
    for (const auto& [tensor, head] : heads_) {
      if (tensor == p.head) tied = head;
    }
    if (tied != nullptr) {
      ties_.push_back([&outlet, tied] { outlet.head = *tied; });
    } else {
      matrix(outlet.head, {{p.head, 0, false}});
      heads_.emplace_back(p.head, &outlet.head);
    }
  }

  // A matrix of layers, adapters and heads.
  void matrix(Matrix& m, std::vector<Part> parts) {
    const StoredType stored = plan_.tensors[parts[0].tensor].type;
    const MatrixType type = !quantises(plan_, stored)          ? packed_as(stored)
                            : plan_.matrices == Matrices::int8 ? MatrixType::int8
                                                               : MatrixType::int4;
    add_matrix(m, std::move(parts), type);
  }

  // One that is never quantised.
  void stored_matrix(Matrix& m, std::vector<Part> parts) {
    const MatrixType type = packed_as(plan_.tensors[parts[0].tensor].type);
    add_matrix(m, std::move(parts), type);
  }

  void add_matrix(Matrix& m, std::vector<Part> parts, MatrixType type) {
    const TensorPlan& first = plan_.tensors[parts[0].tensor];
    uint32_t rows = 0;
    for (const Part& part : parts) {
      rows = std::max(rows, part.row(plan_.tensors[part.tensor].rows - 1) + 1);
    }
    m = Matrix{nullptr, rows, first.cols, type};
    items_.push_back({take(m.bytes()), std::move(parts), &m, nullptr});
  }

  void vector(const float*& v, TensorIndex tensor) {
    items_.push_back(
        {take(plan_.tensors[tensor].rows * sizeof(float)), {{tensor, 0, false}}, nullptr, &v});
  }

  size_t take(size_t bytes) {
    const size_t at = bytes_;
    bytes_ += (bytes + 127) / 128 * 128;
    return at;
  }

  void fill_matrix(const Item& item, std::byte* to) {
    const Matrix& m = *item.matrix;
    tile_.resize(m.tile_bytes());
    for (uint32_t t = 0; t < m.tile_count(); t++) {
      control_.check();
      if (holds_integers(m.type)) {
        clear_integers(m.type, m.cols, tile_.data());
      } else {
        std::fill(tile_.begin(), tile_.end(), std::byte{0});
      }
      for (const Part& part : item.parts) {
        const TensorPlan& tensor = plan_.tensors[part.tensor];
        // The rows of the tensor that lie in this tile are consecutive: find the first and how
        // many.
        uint32_t first = 0, count = 0;
        if (part.paired) {
          if (t % 2 != part.first_row / kTileRows) continue;
          first = t / 2 * kTileRows;
        } else {
          first = std::max(t * kTileRows, part.first_row) - part.first_row;
        }
        while (first + count < tensor.rows && part.row(first + count) / kTileRows == t) count++;
        if (count == 0) continue;
        read(tensor, first, count);
        for (uint32_t r = 0; r < count; r++) {
          const uint32_t row = part.row(first + r) % kTileRows;
          const std::byte* data = rows_.data() + r * tensor.row_bytes();
          if (holds_integers(m.type)) {
            make_integers(m.type, tensor, data, r);
            place_integers(m.type, row, m.cols, integers_.data(), scales_.data(), tile_.data());
          } else {
            place(m.type, row, m.cols, data, tile_.data());
          }
        }
      }
      backend_.write(to + t * m.tile_bytes(), tile_.data(), m.tile_bytes());
    }
  }

  // Row `data` of a tensor, the r-th of those last read, as integers_ and scales_.
  void make_integers(MatrixType type, const TensorPlan& tensor, const std::byte* data, uint32_t r) {
    const uint32_t groups = ceil_div(tensor.cols, group_columns(type));
    integers_.resize(tensor.cols);
    scales_.resize(groups);
    if (holds_integers(tensor.type)) {
      read_integers(tensor.type, tensor.cols, data, integers_.data());
      std::memcpy(scales_.data(), scale_rows_.data() + r * groups * sizeof(uint16_t),
                  groups * sizeof(uint16_t));
      return;
    }
    values_.resize(tensor.cols);
    for (uint32_t k = 0; k < tensor.cols; k++) {
      values_[k] = widen(tensor.type, data + k * bytes_of(tensor.type));
    }
    quantise_row(type, values_.data(), tensor.cols, integers_.data(), scales_.data());
  }

  void fill_vector(const Item& item, std::byte* to) {
    const TensorPlan& tensor = plan_.tensors[item.parts[0].tensor];
    read(tensor, 0, tensor.rows);
    std::vector<float> values(tensor.rows);
    for (uint32_t i = 0; i < tensor.rows; i++) {
      values[i] = widen(tensor.type, rows_.data() + i * bytes_of(tensor.type));
    }
    backend_.write(to, values.data(), values.size() * sizeof(float));
  }

  // Rows of a tensor into rows_, and those of its scales into scale_rows_, checked.
  void read(const TensorPlan& tensor, uint32_t first, uint32_t count) {
    read(tensor, first, count, rows_);
    if (tensor.scales) read(plan_.tensors[*tensor.scales], first, count, scale_rows_);
    control_.progress(done_);
  }

  void read(const TensorPlan& tensor, uint32_t first, uint32_t count,
            std::vector<std::byte>& rows) {
    rows.resize(count * tensor.row_bytes());
    source_.read(tensor, first, count, rows.data());
    if (!clean(tensor.type, size_t(count) * tensor.cols, rows.data())) {
      refuse(plan_, tensor,
             tensor.type == StoredType::int8 ? "holds the integer -128, expected -127 to 127"
                                             : "holds a value that is not finite");
    }
    done_ += double(rows.size());
  }

  void compare(const TensorPlan& a, const TensorPlan& b) {
    const uint32_t step = std::max<uint32_t>(1, uint32_t((size_t(1) << 20) / a.row_bytes()));
    for (uint32_t first = 0; first < a.rows; first += step) {
      control_.check();
      const uint32_t count = std::min(step, a.rows - first);
      rows_.resize(count * a.row_bytes());
      other_.resize(rows_.size());
      source_.read(a, first, count, rows_.data());
      source_.read(b, first, count, other_.data());
      if (rows_ != other_) refuse(plan_, b, "is tied to " + a.name + " but holds other values");
    }
  }

  Backend& backend_;
  const Plan& plan_;
  TensorSource& source_;
  const Control& control_;
  std::vector<Item> items_;
  std::vector<std::pair<TensorIndex, const Matrix*>> heads_;
  std::vector<std::function<void()>> ties_;
  size_t bytes_ = 0;
  double done_ = 0;
  std::vector<std::byte> tile_, rows_, scale_rows_, other_;
  std::vector<float> values_;
  std::vector<int8_t> integers_;
  std::vector<uint16_t> scales_;
};

}  // namespace

bool has_integers(const Plan& plan) {
  return plan.matrices != Matrices::as_stored ||
         std::any_of(plan.tensors.begin(), plan.tensors.end(),
                     [](const TensorPlan& tensor) { return holds_integers(tensor.type); });
}

uint64_t stored_bytes(const Plan& plan) {
  std::unordered_set<TensorIndex> used{plan.embedding};
  const auto outlet = [&](const OutletPlan& p) {
    used.insert({p.norm, p.head});
    if (p.adapter) used.insert({p.adapter->up, p.adapter->down});
  };
  for (const LayerPlan& l : plan.layer_plans) {
    used.insert(
        {l.input_norm, l.query, l.key, l.value, l.output, l.post_norm, l.gate, l.up, l.down});
  }
  for (const ExitPlan& e : plan.exits) {
    outlet(e.outlet);
    for (const RouterBlockPlan& b : e.router.blocks) {
      used.insert({b.fc1_weight, b.fc1_bias, b.fc2_weight, b.fc2_bias});
    }
    used.insert({e.router.norm, e.router.head_weight, e.router.head_bias});
  }
  outlet(plan.final);
  uint64_t bytes = 0;
  for (const TensorIndex i : used) {
    const TensorPlan& tensor = plan.tensors[i];
    bytes += tensor.bytes();
    if (tensor.scales) bytes += plan.tensors[*tensor.scales].bytes();
  }
  // The table of embeddings is read once more where a head is made of it.
  const TensorPlan& table = plan.tensors[plan.embedding];
  const auto tied = [&](const OutletPlan& p) { return p.head == plan.embedding; };
  if (quantises(plan, table.type) &&
      (tied(plan.final) || std::any_of(plan.exits.begin(), plan.exits.end(),
                                       [&](const ExitPlan& e) { return tied(e.outlet); }))) {
    bytes += table.bytes();
  }
  return bytes;
}

Weights load_weights(Backend& backend, const Plan& plan, TensorSource& source,
                     const Control& control) {
  return Loader(backend, plan, source, control).load();
}

}  // namespace nvium
