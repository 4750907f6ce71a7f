/**
 * Blocks by number, shared by reference count. What a block holds and where it lies is the native side's; which numbers
 * are in use, and by how many sequences, is known here and nowhere else.
 */
export interface BlockPool {
  /** A block nobody holds, now held once. */
  take(): number;
  /** One holder more. */
  hold(block: number): void;
  /** One holder less; without holders the block is free. */
  drop(block: number): void;
  /** Whether more than one sequence holds it. */
  shared(block: number): boolean;
  /** Blocks that exist: all numbers in use are below it. */
  readonly size: number;
  /** Blocks in use. */
  readonly used: number;
}

export function createBlockPool(): BlockPool {
  const holders: number[] = [];
  const free: number[] = [];
  return {
    take() {
      const block = free.pop() ?? holders.length;
      holders[block] = 1;
      return block;
    },
    hold(block) {
      holders[block] = holdersOf(block) + 1;
    },
    drop(block) {
      const left = holdersOf(block) - 1;
      holders[block] = left;
      if (left === 0) free.push(block);
    },
    shared: (block) => holdersOf(block) > 1,
    get size() {
      return holders.length;
    },
    get used() {
      return holders.length - free.length;
    },
  };

  function holdersOf(block: number): number {
    const count = holders[block];
    if (!count) throw new RangeError(`Block ${block} is not in use`);
    return count;
  }
}
