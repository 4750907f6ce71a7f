/**
 * Bounds on what a checkpoint may claim, far above any model that exists. They keep every later product of two sizes
 * within what a double holds exactly, and every loop over a claimed count short.
 */

/** Tensors in all files together. */
export const MAX_TENSORS = 1 << 16;

export const MAX_LAYERS = 1 << 10;

/** Rows or columns of any matrix but an embedding: hidden, intermediate, adapter and router sizes. */
export const MAX_WIDTH = 1 << 20;

export const MAX_HEADS = 1 << 10;

/** Elements of one attention head. */
export const MAX_HEAD_DIM = 1 << 10;

/** Tokens in a vocabulary. */
export const MAX_VOCABULARY = 1 << 22;

/** Positions in a sequence: the largest count up to which fp32 holds every integer. */
export const MAX_CONTEXT = 1 << 24;
