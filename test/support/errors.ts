import { expect } from "vitest";
import { type ErrorCode, NviumError } from "../../lib/errors.js";

/** What `action` throws, or rejects with, checked to be an NviumError with this code. */
export async function failure(
  code: ErrorCode,
  action: Promise<unknown> | (() => unknown),
): Promise<NviumError> {
  let thrown: unknown;
  try {
    await (typeof action === "function" ? action() : action);
  } catch (error) {
    thrown = error;
  }
  expect(thrown, `should fail with ${code}`).toBeInstanceOf(NviumError);
  const error = thrown as NviumError;
  expect(error.code, error.message).toBe(code);
  return error;
}

/** That `action` fails with ERR_NVIUM_INVALID_ARG and says which argument is wrong. */
export async function refuses(
  argument: string,
  action: Promise<unknown> | (() => unknown),
): Promise<void> {
  const error = await failure("ERR_NVIUM_INVALID_ARG", action);
  expect(error.details.argument).toBe(argument);
  expect(error.message).toContain(argument);
}
