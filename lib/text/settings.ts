/** What the files beside tokenizer.json say of the tokenizer. */
import { dirname, join } from "node:path";
import type { NamedToken } from "./encoder.js";
import { contentOf, isObject, type JsonObject, readObject, readObjectIfThere } from "./files.js";

export interface TokenizerSettings {
  /** Texts of the special tokens by their names: `bos_token`, `eos_token`, and others that end so. */
  readonly names: Readonly<Record<string, string>>;
  /** Tokens that tokenizer.json may lack, in the order of their ids. */
  readonly named: readonly NamedToken[];
  /** `clean_up_tokenization_spaces`. */
  readonly cleanUp: boolean;
  /** `chat_template` of tokenizer_config.json, as it stands. */
  readonly template: unknown;
}

/**
 * Reads tokenizer_config.json, and special_tokens_map.json and added_tokens.json in `directory`. The last two are old: the
 * map counts before a configuration that was written without `added_tokens_decoder`, and fills the gaps of another.
 */
export async function readSettings(
  directory: string | null,
  configFile: string | null,
): Promise<TokenizerSettings> {
  const beside = async (name: string): Promise<JsonObject> =>
    directory === null ? {} : readObjectIfThere(join(directory, name));
  const [config, map, added] = await Promise.all([
    readObject(configFile),
    beside("special_tokens_map.json"),
    beside("added_tokens.json"),
  ]);
  const decoder = isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : null;
  const settings: JsonObject = decoder === null ? { ...config, ...map } : { ...map, ...config };

  const tokens = Object.entries(settings).filter(
    ([key, value]) => key.endsWith("_token") && contentOf(value) !== undefined,
  );
  const lists = [settings.additional_special_tokens, settings.extra_special_tokens];
  const special = [
    ...tokens.map(([, value]) => value),
    ...lists.flatMap((list) => (isObject(list) || Array.isArray(list) ? Object.values(list) : [])),
  ];
  const specialTexts = new Set(special.map(contentOf));
  return {
    names: Object.fromEntries(tokens.map(([key, value]) => [key, contentOf(value) ?? ""])),
    named: [
      ...byId(decoder ?? {}, ([, token]) =>
        namedToken(token, isObject(token) && token.special === true),
      ),
      ...byId(flipped(added), ([, text]) => namedToken(text, specialTexts.has(contentOf(text)))),
      ...special.map((token) => namedToken(token, true, true)),
    ],
    cleanUp: settings.clean_up_tokenization_spaces === true,
    template: config.chat_template,
  };
}

/** The directory that `tokenizer_config.json` and its like are in. */
export function directoryOf(file: string | null): string | null {
  return file === null ? null : dirname(file);
}

function byId(
  tokens: JsonObject,
  make: (entry: [string, unknown]) => NamedToken,
): readonly NamedToken[] {
  return Object.entries(tokens)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(make);
}

/** From ids by text to texts by id. */
function flipped(tokens: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(tokens).map(([text, id]) => [String(id), text]));
}

function namedToken(token: unknown, special: boolean, onlyKnown = false): NamedToken {
  const flags = isObject(token) ? token : {};
  return {
    content: contentOf(token) ?? "",
    special,
    singleWord: flags.single_word === true,
    leftStrip: flags.lstrip === true,
    rightStrip: flags.rstrip === true,
    normalized: typeof flags.normalized === "boolean" ? flags.normalized : !special,
    onlyKnown,
  };
}
