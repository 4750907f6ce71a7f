/** Several CUDA devices in one process, over the emulator: each by its number, a model on each. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { getDevices, loadModel } from "../../lib/index.js";
import { emulatedDevice } from "../support/emulated.js";
import { fixture } from "../support/expected.js";

const FIXTURE = fixture("quadrivium-gqa-f32");
const PROMPT = Array.from({ length: 9 }, (_, i) => 3 + ((i * 11) % 40));

describe.skipIf(emulatedDevice === undefined)("two CUDA devices", () => {
  beforeAll(() => emulatedDevice?.setDevices(2));
  afterAll(() => emulatedDevice?.setDevices(1));

  it("are told by the names that loadModel takes", () => {
    const { cuda } = getDevices();
    expect(cuda.devices.map(({ device, usable }) => [device, usable])).toEqual([
      ["cuda:0", true],
      ["cuda:1", true],
    ]);
  });

  it("run a model each, in turn, to the CPU's tokens", async () => {
    const models = await Promise.all(
      (["cpu", "cuda:0", "cuda:1"] as const).map((device) => loadModel(FIXTURE, { device })),
    );
    expect(models.map(({ info }) => info.device)).toEqual(["cpu", "cuda", "cuda"]);
    expect(models[2]?.info.deviceReason).toMatch(/^cuda:1, .* was found\.$/);
    const sessions = models.map((model) => model.createSession({ seed: 5 }));
    for (const session of sessions) session.append(PROMPT);
    for (let i = 0; i < 6; i++) await Promise.all(sessions.map((session) => session.step()));
    const [expected, ...found] = sessions.map(({ tokens }) => tokens);
    for (const tokens of found) expect(tokens).toEqual(expected);
    for (const model of models) await model.dispose();
  });

  it("are no more than two", async () => {
    await expect(loadModel(FIXTURE, { device: "cuda:2" })).rejects.toMatchObject({
      code: "ERR_NVIUM_CUDA_UNAVAILABLE",
      message: expect.stringContaining("cuda:2"),
    });
  });
});

describe("names of devices", () => {
  it.each(["cuda:", "cuda:-1", "cuda:01", "cuda:1x", "gpu", "CUDA:0"])(
    "%s is none",
    async (device) => {
      await expect(loadModel(FIXTURE, { device: device as "cuda" })).rejects.toMatchObject({
        code: "ERR_NVIUM_INVALID_ARG",
      });
    },
  );
});
