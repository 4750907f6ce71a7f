/** Filters of texts. */
import { type Define, REQUIRED } from "./arguments.js";
import { lengthOf } from "./attributes.js";
import { toJson } from "./json.js";
import { escapeHtml, fileSize, quoteUrl, stripTags, wrapped } from "./markup.js";
import { parseReal } from "./number-filters.js";
import { defined, listOf, order, room, truth, whole } from "./operations.js";
import { capitalize, centered, linesOf, replaceText, strip } from "./strings.js";
import { repr, str } from "./text.js";
import { dict, fail, is, isNumber, isString, itemsOf, typeName, type Value } from "./values.js";

export function textFilters(define: Define): void {
  define("capitalize", {}, (value) => capitalize(str(value)));
  define("center", { width: 80n }, (value, { width }) =>
    centered(str(value), whole(width, "width"), " "),
  );
  define("e escape forceescape", {}, (value) => escapeHtml(str(value)));
  define("filesizeformat", { binary: false }, (value, { binary }) =>
    fileSize(
      Number(isNumber(value) ? value : (parseReal(str(value)) ?? fail("a size must be a number"))),
      truth(binary),
    ),
  );
  define("indent", { width: 4n, first: false, blank: false }, (value, { width, first, blank }) => {
    const space = isString(width) ? width : " ".repeat(room(Math.max(0, whole(width, "width"))));
    const [head = "", ...rest] = linesOf(`${textOf(value, "indent")}\n`, false);
    const lines = rest.map((line) => (line !== "" || truth(blank) ? space + line : line));
    return (truth(first) ? space : "") + [head, ...lines].join("\n");
  });
  define("lower", {}, (value) => str(value).toLowerCase());
  define("pprint", {}, (value) => {
    const text = repr(inOrder(value));
    return text.length > 80 ? fail("pprint of more than a line is not supported") : text;
  });
  define("replace", { old: REQUIRED, new: REQUIRED, count: null }, (value, args) =>
    replaceText(
      str(value),
      str(args.old),
      str(args.new),
      args.count === null ? -1 : whole(args.count, "count"),
    ),
  );
  define("safe string", {}, str);
  define("striptags", {}, (value) => stripTags(str(value)));
  define("title", {}, (value) =>
    str(value)
      .split(/([-\s({[<]+)/u)
      .map((part) => {
        const [first = "", ...rest] = Array.from(part);
        return first.toUpperCase() + rest.join("").toLowerCase();
      })
      .join(""),
  );
  define(
    "tojson",
    { ensure_ascii: false, indent: null, separators: null, sort_keys: false },
    toJson,
  );
  define("trim", { chars: null }, (value, { chars }) => strip(str(value), chars, true, true));
  define(
    "truncate",
    { length: 255n, killwords: false, end: "...", leeway: null },
    (value, { length, killwords, end, leeway }) => {
      const [most, tail] = [whole(length, "length"), str(end)];
      const more = leeway === null ? 5 : whole(leeway, "leeway");
      if (lengthOf(value) <= most + more) return value;
      const text = Array.from(textOf(value, "truncate"));
      const cut = text.slice(0, most - Array.from(tail).length).join("");
      if (truth(killwords)) return cut + tail;
      const space = cut.lastIndexOf(" ");
      return (space < 0 ? cut : cut.slice(0, space)) + tail;
    },
  );
  define("upper", {}, (value) => str(value).toUpperCase());
  define("urlencode", {}, (value) => {
    if (isString(value) || (itemsOf(value) === null && !is(value, "dict")))
      return quoteUrl(str(value), "/");
    const pairs = is(value, "dict") ? [...value.entries.values()] : listOf(value).map(listOf);
    const quoted = (part: Value | undefined) =>
      quoteUrl(str(part ?? null), "").replaceAll("%20", "+");
    return pairs.map(([key, item]) => `${quoted(key)}=${quoted(item)}`).join("&");
  });
  define("wordcount", {}, (value) =>
    BigInt(str(value).match(/[\p{L}\p{M}\p{N}_]+/gu)?.length ?? 0),
  );
  define(
    "wordwrap",
    { width: 79n, break_long_words: true, wrapstring: null, break_on_hyphens: true },
    (value, args) => {
      const wrap = (line: string) =>
        wrapped(
          line,
          whole(args.width, "width"),
          truth(args.break_long_words),
          truth(args.break_on_hyphens),
        );
      const end = args.wrapstring === null ? "\n" : str(args.wrapstring);
      return linesOf(str(value), false)
        .map((line) => wrap(line).join(end))
        .join(end);
    },
  );
  define("xmlattr", { autospace: true }, (value, { autospace }) => {
    if (!is(value, "dict"))
      return fail(`'${typeName(defined(value))}' object has no attribute 'items'`);
    const shown = [...value.entries.values()]
      .filter(([, item]) => item !== null && !is(item, "undefined"))
      .map(([key, item]) => {
        if (/[\s/>=]/.test(str(key))) fail(`Invalid character in attribute name: ${repr(key)}`);
        return `${escapeHtml(str(key))}="${escapeHtml(str(item))}"`;
      })
      .join(" ");
    return truth(autospace) && shown !== "" ? ` ${shown}` : shown;
  });
}

/** The text that a filter works on, where it takes nothing else for one. */
function textOf(value: Value, filter: string): string {
  if (isString(value)) return value;
  return fail(`${filter} needs a text, not ${typeName(defined(value))}`);
}

/** Dictionaries by their keys. */
function inOrder(value: Value): Value {
  if (Array.isArray(value)) return value.map(inOrder);
  if (!is(value, "dict")) return value;
  const pairs = [...value.entries.values()].sort(([a], [b]) => order(a, b));
  return dict(pairs.map(([key, item]) => [key, inOrder(item)] as const));
}
