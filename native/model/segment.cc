// Segments: contiguous spans of positions through the layers between two exits.
#include "model.h"

namespace nvium {

namespace {

// Calls visit(block, first position, last position) for each block that [begin, end) touches.
template <class Visit>
void each_block(uint32_t begin, uint32_t end, const Visit& visit) {
  for (uint32_t at = begin; at < end;) {
    const uint32_t block = at / kBlockPositions;
    const uint32_t next = std::min(end, (block + 1) * kBlockPositions);
    visit(block, at, next);
    at = next;
  }
}

// Copy-on-write: blocks of [begin, end) that others hold are copied to their spares before they are
// written.
void own(Backend& backend, const BlockStore& store, BlockTable& table, uint32_t begin,
         uint32_t end) {
  each_block(begin, end, [&](uint32_t block, uint32_t, uint32_t) {
    int32_t& spare = table.spare[block];
    if (spare == kNoBlock) return;
    backend.copy(store.at(uint32_t(spare)), store.at(uint32_t(table.block[block])),
                 store.block_bytes());
    table.block[block] = std::exchange(spare, kNoBlock);
  });
}

}  // namespace

void Model::pass(uint32_t m, std::span<Advance> advances) {
  const size_t row_bytes = plan_.hidden_size * sizeof(float);
  const auto boundary_row = [&](const Sequence& sequence, uint32_t boundary, uint32_t position) {
    return boundary_.at(uint32_t(sequence.boundary[boundary].block[position / kBlockPositions])) +
           position % kBlockPositions * row_bytes;
  };

  blocks_.clear(), spans_.clear(), tokens_.clear();
  uint32_t rows = 0;
  for (const Advance& a : advances) {
    own(backend_, cache_, a.sequence->cache, a.begin, a.end);
    add_blocks(*a.sequence, blocks_);
    spans_.push_back({a.begin, a.end, rows, nullptr});
    if (m == 0) {
      for (uint32_t p = a.begin; p < a.end; p++) tokens_.push_back(a.sequence->token(p));
    } else {
      each_block(a.begin, a.end, [&](uint32_t, uint32_t begin, uint32_t end) {
        backend_.copy(hidden_.data() + (rows + begin - a.begin) * row_bytes,
                      boundary_row(*a.sequence, m - 1, begin), (end - begin) * row_bytes);
      });
    }
    rows += a.end - a.begin;
  }
  std::byte* const* blocks = blocks_.data();  // which move no more
  for (size_t i = 0; i < spans_.size(); i++) {
    spans_[i].blocks = blocks;
    blocks += advances[i].sequence->cache.block.size();
  }
  if (m == 0) embed(tokens_);

  // Whatever stops the pass may leave values in its slots that are not finite, and those show
  // through the mask of rows before them: nothing stays.
  const auto erase = [&](const Span& span) {
    backend_.erase(shape_, span, plan_.segment_begin(m), plan_.segment_end(m));
  };
  const auto hidden_row = [&](uint32_t row) {
    return hidden_.floats() + size_t(row) * plan_.hidden_size;
  };
  try {
    run_segment(m, spans_, rows);
    if (!backend_.finite(hidden_.floats(), size_t(rows) * plan_.hidden_size)) {
      for (size_t i = 0; i < spans_.size(); i++) {
        const Span& span = spans_[i];
        advances[i].finite =
            backend_.finite(hidden_row(span.first_row), size_t(span.rows()) * plan_.hidden_size);
        if (!advances[i].finite) erase(span);
      }
    }
  } catch (...) {
    for (const Span& span : spans_) erase(span);
    throw;
  }

  for (size_t i = 0; i < spans_.size(); i++) {
    const Advance& a = advances[i];
    if (!a.finite) continue;
    const auto row_of = [&](uint32_t position) {
      return hidden_row(spans_[i].first_row + position - a.begin);
    };
    if (m + 1 < plan_.segments()) {
      own(backend_, boundary_, a.sequence->boundary[m], a.begin, a.end);
      each_block(a.begin, a.end, [&](uint32_t, uint32_t begin, uint32_t end) {
        backend_.copy(boundary_row(*a.sequence, m, begin), row_of(begin),
                      (end - begin) * row_bytes);
      });
    }
    if (a.exit_row != kNoExitRow) {
      backend_.copy(exit_rows_.data() + a.exit_row * row_bytes, row_of(a.end - 1), row_bytes);
    }
    a.sequence->frontiers[m] = a.end;
  }
}

void Model::embed(std::span<const uint32_t> tokens) {
  backend_.embed(weights_.embedding, tokens, hidden_.floats());
}

void Model::add_blocks(const Sequence& sequence, std::vector<std::byte*>& blocks) const {
  for (const int32_t block : sequence.cache.block) {
    blocks.push_back(block == kNoBlock ? nullptr : cache_.at(uint32_t(block)));
  }
}

void Model::run_segment(uint32_t m, std::span<const Span> spans, uint32_t rows) {
  float* hidden = hidden_.floats();
  Attention attention;
  attention.shape = shape_;
  attention.spans = spans;
  attention.qkv = qkv_.floats();
  attention.rotary = rotary_.floats();
  attention.output = attention_.floats();
  for (uint32_t i = plan_.segment_begin(m); i < plan_.segment_end(m); i++) {
    const Layer& layer = weights_.layers[i];
    attention.layer = i;
    attention.next[0] = &layer.output, attention.next[1] = &layer.gate_up;
    project({.matrix = &layer.qkv,
             .input = hidden,
             .rows = rows,
             .norm = layer.input_norm,
             .epsilon = plan_.norm_epsilon,
             .output = attention.qkv,
             .width = shape_.qkv_width()});
    backend_.attend(attention);
    project({.matrix = &layer.output,
             .input = attention.output,
             .rows = rows,
             .residual = hidden,
             .output = hidden,
             .width = plan_.hidden_size});
    project({.matrix = &layer.gate_up,
             .input = hidden,
             .rows = rows,
             .norm = layer.post_norm,
             .epsilon = plan_.norm_epsilon,
             .activation = Activation::swiglu,
             .output = feed_forward_.floats(),
             .width = plan_.intermediate_size});
    project({.matrix = &layer.down,
             .input = feed_forward_.floats(),
             .rows = rows,
             .residual = hidden,
             .output = hidden,
             .width = plan_.hidden_size});
  }
  const uint32_t layers = plan_.segment_end(m) - plan_.segment_begin(m);
  work_.layer_passes += layers;
  work_.layer_rows += uint64_t(layers) * rows;
}

}  // namespace nvium
