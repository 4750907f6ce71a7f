/** How busy the machine was with anything but this benchmark: what its figures are worth. */
import { readFileSync } from "node:fs";

/** Ticks since boot: of all processors, those idle, and those of this process and the children that have ended. */
function ticks() {
  try {
    const [first = ""] = readFileSync("/proc/stat", "utf8").split("\n");
    const all = first.trim().split(/\s+/).slice(1, 9).map(Number);
    // What follows the name in parentheses, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17.
    const own = readFileSync("/proc/self/stat", "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, ...rest] = all;
    return {
      total: [user, nice, system, idle, wait, ...rest].reduce((sum, n) => sum + n, 0),
      idle: idle + wait,
      own: own.slice(11, 15).reduce((sum, n) => sum + Number(n), 0),
    };
  } catch {
    return null;
  }
}

const begin = ticks();

/** The share of the machine's processor time since the start that others used or a hypervisor took; null where it cannot be told. */
export function foreign() {
  const end = ticks();
  if (begin === null || end === null || end.total === begin.total) return null;
  const busy = end.total - begin.total - (end.idle - begin.idle);
  return Math.max(0, busy - (end.own - begin.own)) / (end.total - begin.total);
}
