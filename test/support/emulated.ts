/** The addon over the emulator (`npm run test:cuda`), and what test/cuda/emulated_addon.cc adds to it. */
import { createRequire } from "node:module";

export interface EmulatedDevice {
  /** The next `after` of a kind succeed, then one fails. */
  failAfter(what: number, after: number): void;
  /** Whether it has; nothing fails any more. */
  failed(): boolean;
  /** As if the process had begun anew. No model may be left on the device. */
  resetDevice(): void;
  /** As many devices as there are to be, all alike. */
  setDevices(count: number): void;
  /** Whether kernels take subnormals for zeros. They must: a device that does not is no longer the CPU's equal. */
  setFlushing(flushing: boolean): void;
}

const path = process.env.NVIUM_BINDING;

/** Undefined where tests run on the product's addon. */
export const emulatedDevice = path?.endsWith("nvium_emulated.node")
  ? (createRequire(import.meta.url)(path) as EmulatedDevice)
  : undefined;
