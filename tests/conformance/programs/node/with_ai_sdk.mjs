// Vercel's AI SDK, with each of its providers that this server can be: OpenAI-compatible, OpenAI (Responses), Anthropic.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { AGENT, ANSWER, CAPITAL, CHAT, EMBED, KEY, URL, WEATHER, main } from "./harness.mjs";

const compatible = createOpenAICompatible({
  name: "conch", baseURL: URL, apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: URL, apiKey: KEY });
const anthropic = createAnthropic({ baseURL: URL, apiKey: KEY });
const City = z.object({ name: z.string().max(30), country: z.enum(["France", "Germany"]) });
const steps = isStepCount ?? stepCountIs;
const get_weather = tool({
  description: "Get the weather of a city",
  inputSchema: z.object({ city: z.string().max(40), unit: z.enum(["celsius", "fahrenheit"]) }),
  execute: async () => ANSWER,
});
const asked = (more = {}) => ({
  model: compatible(CHAT), prompt: CAPITAL, temperature: 0, maxOutputTokens: 100, maxRetries: 0, ...more,
});

async function streamedText(fields) {
  const result = streamText(asked({ ...fields, onError: ({ error }) => { throw error; } }));
  let text = "";
  for await (const part of result.textStream) text += part;
  return { text, usage: await result.usage, toolCalls: await result.toolCalls };
}

async function expectAll(model) {
  assert.match((await generateText(asked({ model }))).text, /Paris/);
  assert.match((await streamedText({ model })).text, /Paris/);
  const forced = { model, prompt: WEATHER, tools: { get_weather }, toolChoice: "required" };
  assert.ok((await generateText(asked(forced))).toolCalls.length);
  const agent = { model, prompt: AGENT, tools: { get_weather }, stopWhen: steps(3) };
  assert.match((await generateText(asked(agent))).text, new RegExp(ANSWER));
  assert.match((await streamedText(agent)).text, new RegExp(ANSWER));
}

await main("ai", {
  async chat() {
    const answer = await generateText(asked());
    assert.match(answer.text, /Paris/);
    assert.equal(answer.finishReason, "stop");
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
  },
  async stream() {
    const { text, usage } = await streamedText({});
    assert.equal(text, (await generateText(asked())).text);
    assert.ok(usage.totalTokens > 0);
  },
  async tools() {
    const forced = { prompt: WEATHER, tools: { get_weather }, toolChoice: { type: "tool", toolName: "get_weather" } };
    const answer = await generateText(asked(forced));
    assert.equal(answer.toolCalls[0].toolName, "get_weather");
    assert.equal(answer.toolResults[0].output, ANSWER);
  },
  async "stream of tools"() {
    const { toolCalls } = await streamedText({ prompt: WEATHER, tools: { get_weather }, toolChoice: "required" });
    assert.ok(toolCalls.length > 0);
  },
  async agent() {
    await expectAll(compatible(CHAT));
  },
  async "JSON schema, parsed"() {
    const output = Output.object({ schema: City });
    assert.ok(City.parse((await generateText(asked({ output }))).output));
    const result = streamText(asked({ output }));
    let last;
    for await (const partial of result.partialOutputStream) last = partial;
    assert.ok(City.parse(last));
  },
  async "OpenAI's provider, chat"() {
    await expectAll(openai.chat(CHAT));
  },
  async responses() {
    await expectAll(openai.responses(CHAT));
    const output = Output.object({ schema: City });
    assert.ok(City.parse((await generateText(asked({ model: openai.responses(CHAT), output }))).output));
  },
  async messages() {
    await expectAll(anthropic(CHAT));
  },
  async embeddings() {
    for (const provider of [compatible, openai]) {
      const model = provider.embeddingModel ? provider.embeddingModel(EMBED) : provider.textEmbeddingModel(EMBED);
      assert.equal((await embedMany({ model, values: ["a king", "a queen"] })).embeddings.length, 2);
    }
  },
});
