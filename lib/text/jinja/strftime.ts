/** `datetime.now().strftime(…)`, in English whatever the locale is. */
import { fail } from "./values.js";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  ...["January", "February", "March", "April", "May", "June"],
  ...["July", "August", "September", "October", "November", "December"],
];

export function strftime(format: string, date: Date): string {
  return format.replace(/%([-_0^#]*)(\d*)([a-zA-Z%]|$)/g, (whole, flags, width, code) => {
    if (code === "") return whole;
    const made = piece(code, date);
    // Python passes on what the system's library does not know.
    if (made === undefined) return whole;
    const [text, digits, fill] = typeof made === "string" ? [made, 0, " "] : padding(made);
    return padded(text, width === "" ? digits : Number(width), flags, fill);
  });
}

/** A number with the width it is padded to, with zeros or spaces. */
type Padded = readonly [value: number, width: number, fill?: string];

function padding([value, width, fill = "0"]: Padded) {
  return [String(value), width, fill] as const;
}

function padded(text: string, width: number, flags: string, fill: string): string {
  let result = text;
  if (flags.includes("^")) result = result.toUpperCase();
  if (flags.includes("#")) result = swapped(result);
  const last = flags.replace(/[\^#]/g, "").at(-1);
  if (last === "-") return result;
  return result.padStart(width, last === "_" ? " " : last === "0" ? "0" : fill);
}

const swapped = (text: string) =>
  text === text.toUpperCase() ? text.toLowerCase() : text.toUpperCase();

function piece(code: string, date: Date): string | Padded | undefined {
  const hour = date.getHours();
  const day = dayOfYear(date);
  const weekday = date.getDay();
  const again = (format: string) => strftime(format, date);
  switch (code) {
    case "a":
      return (DAYS[weekday] ?? "").slice(0, 3);
    case "A":
      return DAYS[weekday];
    case "b":
    case "h":
      return (MONTHS[date.getMonth()] ?? "").slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()];
    case "c":
      return again("%a %b %e %H:%M:%S %Y");
    case "C":
      return [Math.floor(date.getFullYear() / 100), 2];
    case "d":
      return [date.getDate(), 2];
    case "D":
    case "x":
      return again("%m/%d/%y");
    case "e":
      return [date.getDate(), 2, " "];
    case "f":
      return [date.getMilliseconds() * 1000, 6];
    case "F":
      return again("%Y-%m-%d");
    case "g":
      return [isoWeek(date).year % 100, 2];
    case "G":
      return [isoWeek(date).year, 1];
    case "H":
      return [hour, 2];
    case "I":
      return [hour % 12 || 12, 2];
    case "j":
      return [day + 1, 3];
    case "k":
      return [hour, 2, " "];
    case "l":
      return [hour % 12 || 12, 2, " "];
    case "m":
      return [date.getMonth() + 1, 2];
    case "M":
      return [date.getMinutes(), 2];
    case "n":
      return "\n";
    case "p":
      return hour < 12 ? "AM" : "PM";
    case "P":
      return hour < 12 ? "am" : "pm";
    case "r":
      return again("%I:%M:%S %p");
    case "R":
      return again("%H:%M");
    case "s":
      return [Math.floor(date.getTime() / 1000), 1];
    case "S":
      return [date.getSeconds(), 2];
    case "t":
      return "\t";
    case "T":
    case "X":
      return again("%H:%M:%S");
    case "u":
      return [weekday || 7, 1];
    case "U":
      return [Math.floor((day + 7 - weekday) / 7), 2];
    case "V":
      return [isoWeek(date).week, 2];
    case "w":
      return [weekday, 1];
    case "W":
      return [Math.floor((day + 7 - ((weekday + 6) % 7)) / 7), 2];
    case "y":
      return [date.getFullYear() % 100, 2];
    case "Y":
      return [date.getFullYear(), 1];
    case "z":
    case "Z":
      // A time without a zone has no name for it.
      return "";
    case "%":
      return "%";
  }
  return undefined;
}

/** From 0. */
function dayOfYear(date: Date): number {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((day - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000);
}

/** Weeks begin on Monday; the first has the year's first Thursday. */
function isoWeek(date: Date): { readonly year: number; readonly week: number } {
  const thursday = new Date(date.getFullYear(), date.getMonth(), date.getDate());
  thursday.setDate(thursday.getDate() + 3 - ((thursday.getDay() + 6) % 7));
  if (Number.isNaN(thursday.getTime())) fail("a date is out of range");
  return { year: thursday.getFullYear(), week: Math.floor(dayOfYear(thursday) / 7) + 1 };
}
