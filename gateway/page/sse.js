/** Server-sent events out of a fetch body: EventSource cannot send a POST. */

// A CR at the very end may be the first half of a CRLF, so it waits for the next read.
const LINE_END = /\r\n|\n|\r(?!$)/;

/**
 * The `data` of each event, in order, per https://html.spec.whatwg.org/multipage/server-sent-events.html:
 * comments are skipped and an event that the end of the stream cuts off is dropped.
 * Leaving the loop early closes the connection.
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<string>}
 */
export async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  let data = [];
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const lines = (buffer + read.value).split(LINE_END);
      buffer = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        } else if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    // Rejects with the error that ended the stream, which the loop has already thrown.
    await reader.cancel().catch(() => {});
  }
}
