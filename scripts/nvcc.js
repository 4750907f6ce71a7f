import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Where nvcc is: as NVCC says, if that is set, else on the PATH or where NVIDIA's installer puts it. Undefined where there is none. */
export function findNvcc() {
  const { NVCC, PATH = "" } = process.env;
  const folders = [...PATH.split(delimiter).filter(Boolean), "/usr/local/cuda/bin"];
  const places = NVCC === undefined ? folders.map((folder) => join(folder, "nvcc")) : [NVCC];
  return places.find((path) => existsSync(path));
}
