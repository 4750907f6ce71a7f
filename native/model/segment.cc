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

void Model::advance(uint32_t m, std::span<const Advance> spans, const Control& control) {
  reserve_exits(uint32_t(spans.size()));
  pieces_.clear();
  uint32_t rows = 0;
  const auto flush = [&] {
    if (rows == 0) return;
    control.check();
    run_chunk(m, rows);
    pieces_.clear();
    rows = 0;
  };
  for (size_t i = 0; i < spans.size(); i++) {
    const Advance& span = spans[i];
    for (uint32_t at = span.begin; at < span.end;) {
      const uint32_t end = std::min(span.end, at + (kChunkRows - rows));
      pieces_.push_back({span.sequence, at, end, rows, end == span.end ? int32_t(i) : -1});
      rows += end - at;
      at = end;
      if (rows == kChunkRows) flush();
    }
  }
  flush();
}

void Model::run_chunk(uint32_t m, uint32_t rows) {
  const size_t row_bytes = plan_.hidden_size * sizeof(float);
  const auto boundary_row = [&](const Sequence& sequence, uint32_t boundary, uint32_t position) {
    return boundary_.at(uint32_t(sequence.boundary[boundary].block[position / kBlockPositions])) +
           position % kBlockPositions * row_bytes;
  };
  const auto chunk_row = [&](const Piece& piece, uint32_t position) {
    return hidden_.data() + (piece.first_row + position - piece.begin) * row_bytes;
  };

  blocks_.clear(), spans_.clear(), tokens_.clear();
  for (const Piece& piece : pieces_) {
    own(backend_, cache_, piece.sequence->cache, piece.begin, piece.end);
    add_blocks(*piece.sequence, blocks_);
    if (m == 0) {
      for (uint32_t p = piece.begin; p < piece.end; p++)
        tokens_.push_back(piece.sequence->token(p));
    } else {
      each_block(piece.begin, piece.end, [&](uint32_t, uint32_t begin, uint32_t end) {
        backend_.copy(chunk_row(piece, begin), boundary_row(*piece.sequence, m - 1, begin),
                      (end - begin) * row_bytes);
      });
    }
  }
  std::byte* const* blocks = blocks_.data();  // which move no more
  for (const Piece& piece : pieces_) {
    spans_.push_back({piece.begin, piece.end, piece.first_row, blocks});
    blocks += piece.sequence->cache.block.size();
  }
  if (m == 0) embed(tokens_);

  // Whatever stops the chunk may leave values in its slots that are not finite, and those show
  // through the mask of rows before them: nothing stays.
  try {
    run_segment(m, spans_, rows);
    if (!backend_.finite(hidden_.floats(), size_t(rows) * plan_.hidden_size)) {
      fail_finite("segment " + std::to_string(m + 1));
    }
  } catch (...) {
    for (const Span& span : spans_) {
      backend_.erase(shape_, span, plan_.segment_begin(m), plan_.segment_end(m));
    }
    throw;
  }

  for (const Piece& piece : pieces_) {
    if (m + 1 < plan_.segments()) {
      own(backend_, boundary_, piece.sequence->boundary[m], piece.begin, piece.end);
      each_block(piece.begin, piece.end, [&](uint32_t, uint32_t begin, uint32_t end) {
        backend_.copy(boundary_row(*piece.sequence, m, begin), chunk_row(piece, begin),
                      (end - begin) * row_bytes);
      });
    }
    if (piece.exit_row >= 0) {
      backend_.copy(exit_rows_.data() + uint32_t(piece.exit_row) * row_bytes,
                    chunk_row(piece, piece.end - 1), row_bytes);
    }
    piece.sequence->frontiers[m] = piece.end;
  }
}

void Model::move_exit_row(uint32_t from, uint32_t to) {
  if (from == to) return;
  const size_t bytes = plan_.hidden_size * sizeof(float);
  backend_.copy(exit_rows_.data() + to * bytes, exit_rows_.data() + from * bytes, bytes);
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
