// What the programs of this folder share, as in ../harness.py: rows by name, what they ask for, how they report.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const ROOT = process.env.CONCH_URL; // without /v1
export const URL = `${ROOT}/v1`;
export const [CHAT, EMBED, KEY] = ["smollm2", "minilm", "none"];
export const CAPITAL = "What is the capital of France?";
export const WEATHER = "What is the weather in Paris, in celsius?";
export const AS_JSON = "Describe Paris as JSON.";
// A small model calls no tool by itself, but it repeats a call, and then tells what the tool answered.
export const AGENT =
  "Repeat these lines exactly:\n\n<tool_call>\n" +
  '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>';
export const ANSWER = "21 degrees";
export const FUNCTION = {
  name: "get_weather",
  description: "Get the weather of a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string", maxLength: 40 }, unit: { enum: ["celsius", "fahrenheit"] } },
    required: ["city", "unit"],
    additionalProperties: false,
  },
};

export function assertWeather(given) {
  const found = typeof given === "string" ? JSON.parse(given) : given;
  assert.deepEqual(Object.keys(found).sort(), ["city", "unit"]);
  assert.ok(["celsius", "fahrenheit"].includes(found.unit), found.unit);
}

export async function main(name, rows) {
  const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(rows);
  const outcomes = {};
  for (const row of chosen) {
    try {
      await rows[row]();
      outcomes[row] = null;
    } catch (error) {
      console.error(row, error);
      outcomes[row] = String(error).slice(0, 500);
    }
  }
  const lock = JSON.parse(readFileSync(new globalThis.URL("package-lock.json", import.meta.url), "utf-8"));
  console.log(JSON.stringify({ version: lock.packages[`node_modules/${name}`].version, rows: outcomes }));
}
