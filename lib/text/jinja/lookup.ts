/** Attributes and items by a path, as filters are given it. */
import { subscript } from "./attributes.js";
import { is, isString, type Value } from "./values.js";
/** Looks up an attribute, item, or a path of them. */
export function getter(attribute: Value, missing: Value): (item: Value) => Value {
  const path: readonly Value[] =
    attribute === null
      ? []
      : isString(attribute)
        ? attribute.split(".").map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
        : [attribute];
  return (item) =>
    path.reduce((value, part) => {
      const found = subscript(value, part);
      return missing !== null && is(found, "undefined") ? missing : found;
    }, item);
}
