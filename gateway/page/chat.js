/** The chat page: one conversation with one model, over the same OpenAI API that any other client uses. */

import { ApiError, request, setApiKey, streamChunks } from "./api.js";
import { Asides } from "./asides.js";
import { render } from "./markdown.js";

const MODEL_KEY = "conch.model"; // in localStorage
const MODELS_RETRY_MS = 3000;
const BOTTOM_SLACK_PX = 40;
const PAINT_SHARE = 0.25; // of the time, so that an answer that is slow to draw does not stop the page

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));

/** What has been said. A turn: question, answer (text so far), asides, nodes, controller, and its figures. */
let turns = [];
/** The turn whose answer is being streamed, or null. */
let active = null;
/** Whether the reader is at the end of the log, and so wants to follow it. */
let following = true;

// Models and requests

function completionRequest() {
  const system = page.system.value.trim();
  const history = turns.flatMap(({ question, answer }) => [
    { role: "user", content: question },
    ...(answer ? [{ role: "assistant", content: answer }] : []),
  ]);
  return {
    model: page.model.value,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...history],
    stream: true,
    stream_options: { include_usage: true },
    ...(page.temperature.value && { temperature: page.temperature.valueAsNumber }),
    ...(page["max-tokens"].value && { max_tokens: page["max-tokens"].valueAsNumber }),
  };
}

async function loadModels() {
  try {
    const { data: all } = await (await request("v1/models")).json();
    const data = all.filter(({ kind }) => kind === "generate");
    if (data.length === 0) throw new ApiError("No model is loaded yet.");
    const remembered = localStorage.getItem(MODEL_KEY);
    page.model.replaceChildren(...data.map(({ id }) => new Option(id, id, false, id === remembered)));
    page.model.disabled = page.send.disabled = false;
    hideError();
  } catch (error) {
    showError(error);
    // Engines may still be loading. Without a key, though, asking again cannot help.
    if (error.status !== 401) setTimeout(loadModels, MODELS_RETRY_MS);
  }
}

// One turn

async function ask(question) {
  if (active || page.model.disabled) return;
  dropUnansweredTurn();
  const turn = openTurn(question);
  setActive(turn);
  try {
    for await (const chunk of streamChunks(completionRequest(), turn.controller.signal)) receive(turn, chunk);
    close(turn, "done");
  } catch (error) {
    const stopped = error.name === "AbortError";
    close(turn, stopped ? "stopped" : "failed");
    if (!stopped && active === turn) fail(turn, error);
  }
  if (active === turn) setActive(null);
}

function openTurn(question) {
  const asked = openMessage("user");
  const answered = openMessage("assistant");
  const turn = { question, answer: "", asides: new Asides(), nodes: [asked, answered] };
  Object.assign(turn, { controller: new AbortController(), sentAt: performance.now() });
  turns.push(turn);
  asked.firstChild.textContent = question;
  answered.dataset.state = "waiting";
  page.welcome.hidden = true;
  page.messages.append(asked, answered);
  following = true;
  follow();
  return turn;
}

function openMessage(role) {
  const message = document.createElement("article");
  message.className = "message";
  message.dataset.role = role;
  message.setAttribute("aria-label", role === "user" ? "You" : "Answer");
  const text = document.createElement("div");
  text.className = "text";
  text.dir = "auto";
  message.append(text);
  return message;
}

function receive(turn, chunk) {
  const [choice] = chunk.choices ?? []; // the usage chunk has none
  turn.usage = chunk.usage ?? turn.usage;
  turn.finishReason = choice?.finish_reason ?? turn.finishReason;
  const delta = choice?.delta ?? {};
  if (!turn.asides.add(delta) && !delta.content) return;
  turn.firstTextAt ??= performance.now();
  turn.answer += delta.content ?? "";
  // One paint per frame, however many tokens arrive in it.
  turn.timer ??= setTimeout(() => {
    turn.frame = requestAnimationFrame(() => paint(turn, "streaming"));
  }, turn.restMs);
}

function paint(turn, state) {
  const startedAt = performance.now();
  turn.timer = null;
  const [, message] = turn.nodes;
  message.dataset.state = state;
  render(message.querySelector(".text"), turn.answer);
  turn.asides.paint(message);
  follow();
  turn.restMs = (performance.now() - startedAt) * (1 / PAINT_SHARE - 1);
}

function close(turn, state) {
  clearTimeout(turn.timer);
  cancelAnimationFrame(turn.frame);
  paint(turn, state);
  turn.nodes[1].append(stats(turn, state));
  follow();
}

/** The turn's figures as a line under the answer, and as data attributes. */
function stats(turn, state) {
  const line = document.createElement("p");
  line.className = "stats";
  const parts = [];
  if (turn.firstTextAt !== undefined) {
    const ttft = Math.round(turn.firstTextAt - turn.sentAt);
    line.dataset.ttftMs = ttft;
    parts.push(`${ttft} ms to first token`);
  }
  if (turn.usage) {
    const tokens = turn.usage.completion_tokens;
    // Over the whole request: the time since the first token is next to nothing when all came in one message.
    const rate = (tokens / (performance.now() - turn.sentAt)) * 1000;
    line.dataset.tokens = tokens;
    line.dataset.tokensPerSecond = rate.toFixed(1);
    parts.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`, `${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`);
  }
  if (turn.finishReason) line.dataset.finishReason = turn.finishReason;
  if (turn.finishReason === "length") parts.push("cut at the token limit (length)");
  if (state === "stopped") parts.push("stopped");
  line.textContent = parts.join(" · ");
  return line;
}

function fail(turn, error) {
  showError(error, turn.nodes[1].lastChild);
  // Whatever was wrong, the question can be sent again without being typed again.
  if (!turn.answer && !page.prompt.value) page.prompt.value = turn.question;
}

/** A question that got no text is no part of the history: most chat templates refuse two questions in a row. */
function dropUnansweredTurn() {
  hideError();
  if (turns.length === 0 || turns.at(-1).answer) return;
  turns.pop().nodes.forEach((node) => node.remove());
}

function reset() {
  active?.controller.abort();
  setActive(null);
  hideError();
  turns.flatMap((turn) => turn.nodes).forEach((node) => node.remove());
  turns = [];
  page.welcome.hidden = false;
  page.prompt.value = "";
  page.prompt.focus();
}

// The page

function setActive(turn) {
  active = turn;
  page.send.hidden = turn !== null;
  page.stop.hidden = turn === null;
  page.messages.setAttribute("aria-busy", turn !== null); // a screen reader reads the answer once it is whole
}

/** Shows one sentence before the element `next`: above the composer, unless the error is about one answer. */
function showError(error, next = page["key-form"]) {
  const known = error instanceof ApiError;
  if (!known) console.error(error);
  page.error.textContent = known ? error.message : "The server cannot be reached.";
  page.error.hidden = false;
  next.before(page.error);
  follow();
  if (error.status !== 401) return;
  page["key-form"].hidden = false;
  page.key.focus();
}

function hideError() {
  page.error.hidden = true;
  page["key-form"].before(page.error); // out of a message that may go
}

function follow() {
  if (following) page.messages.scrollTop = page.messages.scrollHeight;
}

page.messages.addEventListener("scroll", () => {
  const { scrollHeight, scrollTop, clientHeight } = page.messages;
  following = scrollHeight - scrollTop - clientHeight < BOTTOM_SLACK_PX;
});
new ResizeObserver(follow).observe(page.messages);

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = page.prompt.value.trim();
  if (!question || active || page.model.disabled) return;
  page.prompt.value = "";
  page.prompt.focus();
  ask(question);
});
// A field that is out of range must be seen before the browser can point at it.
page.composer.addEventListener("invalid", () => (page.settings.open = true), { capture: true });
page.prompt.addEventListener("keydown", (event) => {
  // Enter that ends an input method's composition is not the end of the message.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});
page.stop.addEventListener("click", () => {
  active?.controller.abort();
  page.prompt.focus();
});
page.reset.addEventListener("click", reset);
page.welcome.addEventListener("click", ({ target }) => target.type === "button" && ask(target.textContent));
page.model.addEventListener("change", () => localStorage.setItem(MODEL_KEY, page.model.value));
page["key-form"].addEventListener("submit", (event) => {
  event.preventDefault();
  setApiKey(page.key.value.trim());
  page["key-form"].hidden = true;
  page.prompt.focus();
  loadModels();
});

loadModels();
