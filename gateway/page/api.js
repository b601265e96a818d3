/** The gateway's OpenAI API, as a page on its own origin sees it. */

import { readEvents } from "./sse.js";

const API_KEY = "conch.api-key"; // in sessionStorage: a key does not outlive the tab

/** The API refused, or broke off; the message is one sentence for the reader. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function setApiKey(key) {
  sessionStorage.setItem(API_KEY, key);
}

/**
 * GET, or POST where there is a body.
 * @returns {Promise<Response>} a response that is ok
 * @throws {ApiError} the sentence out of OpenAI's error envelope
 */
export async function request(path, { body, signal } = {}) {
  const key = sessionStorage.getItem(API_KEY);
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) };
  const init = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  const response = await fetch(path, init);
  if (response.ok) return response;
  // A proxy in between may answer with a page instead of OpenAI's envelope.
  const envelope = await response.json().catch(() => null);
  throw new ApiError(envelope?.error?.message ?? `The server answered with status ${response.status}.`, response.status);
}

/**
 * The chunks of one streamed chat completion, up to `[DONE]`.
 * @throws {ApiError} also for an error inside the stream, and for a stream without an end
 */
export async function* streamChunks(body, signal) {
  const response = await request("v1/chat/completions", { body, signal });
  for await (const data of readEvents(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message ?? String(chunk.error));
    yield chunk;
  }
  throw new ApiError("The connection closed before the answer was complete.");
}
