/**
 * Blocks by number, shared by reference count. What a block holds and where it lies is the native side's; which numbers
 * are in use, and by how many sequences, is known here and nowhere else. The lowest free number is taken first, so that
 * those in use stay together and memory behind them can go back.
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
  /** All numbers in use are below it. */
  readonly size: number;
  /** Blocks in use. */
  readonly used: number;
  /** Times a block was taken or became free. */
  readonly changes: number;
  /** 1 for each number below `size` that is in use, else 0. */
  occupied(): Uint8Array<ArrayBuffer>;
}

/** `freed` is called when a block becomes free. */
export function createBlockPool(freed: () => void = () => undefined): BlockPool {
  /** Of each number; the last is above 0. */
  const holders: number[] = [];
  /** No number below it is free. */
  let lowest = 0;
  let used = 0;
  let changes = 0;
  return {
    take() {
      while (holders[lowest]) lowest++;
      const block = lowest++;
      holders[block] = 1;
      used++;
      changes++;
      return block;
    },
    hold(block) {
      holders[block] = holdersOf(block) + 1;
    },
    drop(block) {
      const left = holdersOf(block) - 1;
      holders[block] = left;
      if (left > 0) return;
      used--;
      changes++;
      lowest = Math.min(lowest, block);
      while (holders.at(-1) === 0) holders.pop();
      freed();
    },
    shared: (block) => holdersOf(block) > 1,
    get size() {
      return holders.length;
    },
    get used() {
      return used;
    },
    get changes() {
      return changes;
    },
    occupied: () => Uint8Array.from(holders, (count) => Math.min(count, 1)),
  };

  function holdersOf(block: number): number {
    const count = holders[block];
    if (!count) throw new RangeError(`Block ${block} is not in use`);
    return count;
  }
}
