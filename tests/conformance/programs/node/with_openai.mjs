// OpenAI's own client for JavaScript.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  AGENT, ANSWER, AS_JSON, CAPITAL, CHAT, EMBED, FUNCTION, KEY, URL, WEATHER, assertWeather, main,
} from "./harness.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: KEY });
const City = z.object({ name: z.string().max(30), country: z.enum(["France", "Germany"]) });
const TOOL = { type: "function", function: FUNCTION };
const fields = (more = {}) => ({
  model: CHAT, messages: [{ role: "user", content: CAPITAL }], temperature: 0, max_tokens: 100, ...more,
});
const chat = (more) => client.chat.completions.create(fields(more));
const calling = (more = {}) => ({
  messages: [{ role: "user", content: WEATHER }], tools: [TOOL], tool_choice: "required",
  parallel_tool_calls: false, // a small model repeats a call until its limit
  ...more,
});
const response = (more = {}) => client.responses.create({ model: CHAT, input: CAPITAL, temperature: 0, ...more });

await main("openai", {
  async chat() {
    const answer = await chat();
    assert.match(answer.choices[0].message.content, /Paris/);
    assert.ok(answer.usage.total_tokens > 0);
  },
  async stream() {
    let text = "";
    for await (const chunk of await chat({ stream: true })) text += chunk.choices[0]?.delta.content ?? "";
    assert.equal(text, (await chat()).choices[0].message.content);
  },
  async "stream helper"() {
    const parts = [];
    const stream = client.chat.completions.stream(fields()).on("content", (delta) => parts.push(delta));
    assert.equal(await stream.finalContent(), parts.join(""));
    assert.ok((await stream.totalUsage()).total_tokens >= 0);
  },
  async tools() {
    for (const call of (await chat(calling())).choices[0].message.tool_calls) assertWeather(call.function.arguments);
  },
  async "stream of tools"() {
    const streamed = await client.chat.completions.stream(fields(calling())).finalChatCompletion();
    const calls = (answer) => answer.choices[0].message.tool_calls.map((call) => call.function.arguments);
    assert.deepEqual(calls(streamed), calls(await chat(calling())));
  },
  async "tool runner"() {
    for (const stream of [false, true]) {
      const asked = [];
      const callback = (given) => (asked.push(given), ANSWER);
      const tool = { type: "function", function: { ...FUNCTION, function: callback, parse: JSON.parse } };
      const messages = [{ role: "user", content: AGENT }];
      const runner = client.chat.completions.runTools(fields({ messages, tools: [tool], stream }));
      assert.match(await runner.finalContent(), new RegExp(ANSWER));
      assert.equal(asked.length, 1);
      assertWeather(asked[0]);
    }
  },
  async JSON() {
    const messages = [{ role: "user", content: AS_JSON }];
    const answer = await chat({ messages, response_format: { type: "json_object" }, max_tokens: 200 });
    assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
  },
  async "JSON schema, parsed"() {
    const answer = await client.chat.completions.parse(fields({ response_format: zodResponseFormat(City, "city") }));
    assert.ok(City.parse(answer.choices[0].message.parsed));
  },
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes(CHAT) && names.includes(EMBED), names);
  },
  async errors() {
    await assert.rejects(chat({ model: "none" }), (error) => error instanceof OpenAI.NotFoundError && Boolean(error.requestID));
    await assert.rejects(chat({ temperature: -1 }), (error) => error.param === "temperature" && Boolean(error.type));
  },
  async responses() {
    const first = await response();
    assert.match(first.output_text, /Paris/);
    assert.ok((await response({ input: "And of Germany?", previous_response_id: first.id })).output_text);
  },
  async "responses, streamed"() {
    const kinds = [];
    const stream = client.responses.stream({ model: CHAT, input: CAPITAL, temperature: 0 });
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds.at(-1), "response.completed");
    assert.match((await stream.finalResponse()).output_text, /Paris/);
  },
  async "responses, tools"() {
    const tool = { type: "function", strict: true, ...FUNCTION };
    const answer = await response({ input: WEATHER, tools: [tool], tool_choice: "required" });
    assertWeather(answer.output.find((item) => item.type === "function_call").arguments);
  },
  async "responses, parsed"() {
    const text = { format: zodTextFormat(City, "city") };
    const answer = await client.responses.parse({ model: CHAT, input: CAPITAL, temperature: 0, text });
    assert.ok(City.parse(answer.output_parsed));
  },
  async embeddings() {
    const input = ["a king", "a queen"];
    const packed = await client.embeddings.create({ model: EMBED, input });
    const plain = await client.embeddings.create({ model: EMBED, input, encoding_format: "float" });
    const apart = packed.data[0].embedding.map((value, place) => Math.abs(value - plain.data[0].embedding[place]));
    assert.ok(Math.max(...apart) < 1e-6);
  },
  async "files and batches"() {
    const body = { model: CHAT, messages: [{ role: "user", content: CAPITAL }], max_tokens: 8 };
    const line = JSON.stringify({ custom_id: "a", method: "POST", url: "/v1/chat/completions", body });
    const file = await client.files.create({ file: await toFile(Buffer.from(line), "in.jsonl"), purpose: "batch" });
    const endpoint = "/v1/chat/completions";
    let batch = await client.batches.create({ input_file_id: file.id, endpoint, completion_window: "24h" });
    for (let tries = 0; tries < 600 && ["validating", "in_progress", "finalizing"].includes(batch.status); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      batch = await client.batches.retrieve(batch.id);
    }
    assert.equal(batch.status, "completed");
    const answers = await (await client.files.content(batch.output_file_id)).text();
    assert.equal(JSON.parse(answers).custom_id, "a");
  },
});
