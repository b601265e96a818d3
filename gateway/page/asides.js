/** What an answer has besides its text: reasoning, folded away above the text, and calls of tools below it. */

export class Asides {
  #reasoning = "";
  #calls = [];

  /** Takes what is in a delta of a chat completion; whether there was anything. */
  add({ reasoning_content: reasoning, tool_calls: calls }) {
    this.#reasoning += reasoning ?? "";
    for (const { index, function: { name, arguments: part } } of calls ?? []) {
      const call = (this.#calls[index] ??= { name: "", arguments: "" });
      call.name ||= name ?? "";
      call.arguments += part ?? "";
    }
    return Boolean(reasoning || calls?.length);
  }

  /** Shows it around the text of a message. */
  paint(message) {
    const text = message.querySelector(".text");
    if (this.#reasoning) {
      message.querySelector(".reasoning") ?? text.before(folded("reasoning", "Reasoning"));
      message.querySelector(".reasoning > div").textContent = this.#reasoning;
    }
    if (this.#calls.length === 0) return;
    message.querySelector(".calls") ?? text.after(Object.assign(document.createElement("div"), { className: "calls" }));
    const shown = this.#calls.map(({ name, arguments: json }) => {
      const call = document.createElement("pre");
      call.dataset.language = `calls ${name}`;
      call.textContent = json;
      return call;
    });
    message.querySelector(".calls").replaceChildren(...shown);
  }
}

function folded(className, title) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const body = document.createElement("div");
  details.className = className;
  summary.textContent = title;
  body.dir = "auto";
  details.append(summary, body);
  return details;
}
