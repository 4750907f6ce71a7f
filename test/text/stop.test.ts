import { expect, test } from "vitest";
import { createStopMatcher } from "../../lib/text/stop.js";
import { expectError, randomNumbers } from "./helpers.js";

interface Run {
  readonly text: string;
  readonly match: string | null;
  /** Index of the chunk that completed the match. */
  readonly chunk: number;
}

function run(stops: readonly string[], chunks: readonly string[]): Run {
  const matcher = createStopMatcher(stops);
  let text = "";
  for (const [chunk, part] of chunks.entries()) {
    const result = matcher.push(part);
    text += result.text;
    if (result.match !== null) return { text, match: result.match, chunk };
  }
  return { text: text + matcher.end(), match: null, chunk: -1 };
}

/** The definition: the match that ends first, the longest of those. */
function expected(stops: readonly string[], chunks: readonly string[]): Run {
  const whole = chunks.join("");
  const [first] = stops
    .filter((stop) => whole.includes(stop))
    .map((stop) => ({ stop, start: whole.indexOf(stop), end: whole.indexOf(stop) + stop.length }))
    .sort((a, b) => a.end - b.end || a.start - b.start);
  if (first === undefined) return { text: whole, match: null, chunk: -1 };
  let length = 0;
  const chunk = chunks.findIndex((part) => {
    length += part.length;
    return length >= first.end;
  });
  return { text: whole.slice(0, first.start), match: first.stop, chunk };
}

test("any stop strings are found in any chunks as in the whole text", () => {
  const random = randomNumbers(3);
  const word = (longest: number) =>
    Array.from({ length: random(longest + 1) }, () => "ab"[random(2)]).join("");
  let matches = 0;
  for (let i = 0; i < 20_000; i++) {
    const stops = Array.from({ length: random(4) }, () => `${word(5)}b`);
    const chunks = Array.from({ length: random(12) }, () => word(3));
    const result = run(stops, chunks);
    expect(result, JSON.stringify({ stops, chunks })).toEqual(expected(stops, chunks));
    if (result.match !== null) matches++;
  }
  expect(matches).toBeGreaterThan(5000);
});

test("text is held back only while a stop string could begin in it", () => {
  const matcher = createStopMatcher(["</end>"]);
  expect(matcher.push("a <").text).toBe("a ");
  expect(matcher.push("/e").text).toBe("");
  expect(matcher.push("x <").text).toBe("</ex ");
  expect(matcher.end()).toBe("<");
  expect(matcher.end()).toBe("");
});

test("a stop string in the middle of a chunk takes the rest of it along", () => {
  expect(createStopMatcher(["\n"]).push("one\ntwo\nthree")).toEqual({ text: "one", match: "\n" });
});

test("of two that end together the longer wins, of two that overlap the one complete first", () => {
  expect(run(["bc", "abc"], ["xab", "cd"])).toEqual({ text: "x", match: "abc", chunk: 1 });
  expect(run(["abcd", "bc"], ["abcd"])).toEqual({ text: "a", match: "bc", chunk: 0 });
});

test("without stop strings text passes through at once", () => {
  const matcher = createStopMatcher([]);
  expect(matcher.push("abc")).toEqual({ text: "abc", match: null });
  expect(matcher.end()).toBe("");
});

test.each([[""], [3], [null]])("%j is no stop string", (stop) => {
  const error = expectError(
    () => createStopMatcher(["x", stop as string]),
    "ERR_NVIUM_INVALID_ARG",
  );
  expect(error.details.argument).toBe("stop");
});
