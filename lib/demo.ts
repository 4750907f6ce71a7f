/** The model that comes with the package. */
import { fileURLToPath } from "node:url";

/** The directory of the demo model. In a bundle it is not there: `loadModel` says what it looked for. */
export const demo: string = directoryOf(import.meta.url);

/** `import.meta.url` is undefined where a bundler made CommonJS of the module. */
function directoryOf(url: string | undefined): string {
  const place = "../models/demo";
  return url === undefined ? place : fileURLToPath(new URL(place, url));
}
