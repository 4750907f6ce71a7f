/** Templates as Python's Jinja renders them in the sandbox of `transformers`. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { strftime } from "../../lib/text/jinja/strftime.js";
import { compileTemplate } from "../../lib/text/jinja/template.js";
import { TemplateError } from "../../lib/text/jinja/values.js";

/**
 * Made with Jinja2 3.1.6 and the environment of transformers 5.24: every filter, test, method, tag and operator, and what they
 * refuse, which is null.
 */
const { variables, renders } = JSON.parse(readFileSync("test/text/data/renders.json", "utf8")) as {
  variables: Record<string, unknown>;
  renders: [template: string, text: string | null][];
};

const render = (template: string, given: Record<string, unknown> = variables) =>
  compileTemplate(template)(given);

/** The same as a value, for tables. */
function rendered(template: string): string | null {
  try {
    return render(template);
  } catch (error) {
    expect(error).toBeInstanceOf(TemplateError);
    return null;
  }
}

test.each(renders)("%s", (template, text) => {
  expect(rendered(template)).toBe(text);
});

describe("an error says in which line it happened", () => {
  test.each([
    ["a\nb\n{{ 1 / 0 }}", "line 3: division by zero"],
    [
      "{% for m in messages %}\n{{ m.content.nosuch() }}{% endfor %}",
      "line 2: 'str object' has no",
    ],
    ["\n{{ raise_exception('no system role') }}", "line 2: no system role"],
    ["\n\n{{ 'a' | nosuch }}", "line 3: No filter named 'nosuch'"],
    ["{% macro m() %}\n{{ 'a' + 1 }}{% endmacro %}\n\n{{ m() }}", "line 2: can only concatenate"],
    ["{% if true %}\n{% include 'x' %}{% endif %}", "line 2: 'include' is not supported"],
    ["{{ 'a' | random }}", "line 1: the filter 'random' is not supported"],
  ])("%j", (template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  test.each([
    ["a\n{% nosuch %}", "line 2: unknown tag 'nosuch'"],
    ["{% if x %}\n", "line 1: expected elif or else or endif"],
    ["\n{{ 'open }}", "line 2: unexpected character"],
    ["{{ (1 }}", "line 1"],
    ["\n\n{% break %}", "line 3: break outside of a loop"],
    ["{# no end", "line 1: a comment has no end"],
  ])("%j, when it is read", (template, message) => {
    expect(() => compileTemplate(template)).toThrow(message);
  });
});

test("whole numbers are integers, others floats, and nothing given is changed", () => {
  const given = {
    n: 2,
    x: 0.5,
    big: 2n ** 70n,
    list: [1, undefined],
    date: new Date(0),
    no: undefined,
  };
  expect(
    render("{{ n / 2 }} {{ n }} {{ x }} {{ big }} {{ list }} {{ date }} {{ no }}", given),
  ).toBe("1.0 2 0.5 1180591620717411303424 [1, None] 1970-01-01T00:00:00.000Z ");
  expect(() => render("{{ f }}", { f: () => 1 })).toThrow(TemplateError);
});

test("what would take for ever or all memory is refused", () => {
  expect(() => render("{{ 'a' * 1000000000 }}")).toThrow(TemplateError);
  expect(() => render("{{ 9 ** 999999999 }}")).toThrow(TemplateError);
  for (const made of ["'a'.center(10 ** 12)", "[1]|batch(10 ** 12, 0)|list", "'%999999999d' % 1"]) {
    expect(() => render(`{{ ${made} }}`)).toThrow(TemplateError);
  }
  expect(() => render("{{ range(1000000) }}")).toThrow(TemplateError);
  expect(() => render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")).toThrow(TemplateError);
  expect(() => compileTemplate(`{{ ${"(".repeat(100_000)}`)).toThrow(TemplateError);
});

describe("dates", () => {
  // By Python, in the C locale.
  const codes =
    "%a %A %b %B %c %C %d %D %e %F %g %G %H %I %j %k %l %m %M %p %P %r %R %S %T %u %U %V %w %W %x %X %y %Y [%z%Z] %% %-d %-m %_d %^a %#b %5d %Q";
  test.each([
    [
      new Date(2026, 0, 1, 0, 5, 9),
      "Thu Thursday Jan January Thu Jan  1 00:05:09 2026 20 01 01/01/26  1 2026-01-01 26 2026 00 12 001  0 12 01 05 AM am 12:05:09 AM 00:05 09 00:05:09 4 00 01 4 00 01/01/26 00:05:09 26 2026 [] % 1 1  1 THU JAN 00001 %Q",
    ],
    [
      new Date(2024, 11, 30, 13, 45, 59),
      "Mon Monday Dec December Mon Dec 30 13:45:59 2024 20 30 12/30/24 30 2024-12-30 25 2025 13 01 365 13  1 12 45 PM pm 01:45:59 PM 13:45 59 13:45:59 1 52 01 1 53 12/30/24 13:45:59 24 2024 [] % 30 12 30 MON DEC 00030 %Q",
    ],
  ])("%s", (date, text) => {
    expect(strftime(codes, date)).toBe(text);
  });
});
