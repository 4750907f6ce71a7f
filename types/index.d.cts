/** What `require("nvium")` gives: the same module, whose types a CommonJS file may not import without saying how. */
import type * as nvium from "../dist/index.js" with { "resolution-mode": "import" };

export type * from "../dist/index.js" with { "resolution-mode": "import" };

export declare const demo: typeof nvium.demo;
export declare const getDevices: typeof nvium.getDevices;
export declare const loadModel: typeof nvium.loadModel;
export declare const NviumError: typeof nvium.NviumError;
export type NviumError = nvium.NviumError;
