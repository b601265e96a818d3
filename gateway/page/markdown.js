/**
 * The little markdown that answers use most, as DOM nodes: fenced code, lists, inline code, bold.
 * Everything else stays the text that it is; no text ever becomes markup.
 */

// Hostile text costs linear time: runs are taken whole (the lookaheads), and no span crosses a line or its own delimiter.
const FENCE = /^\s*(`{3,}(?!`)|~{3,}(?!~))([^`]*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(?!\s)(.*)$/;
const INLINE = /`([^`\n]+)`|\*\*(?!\s)([^*\n]+)\*\*/g;

const sources = new WeakMap();

/**
 * Makes `container` show `text`. Blocks that did not change keep their nodes, so that a growing answer
 * neither loses the reader's selection nor is built anew with every token.
 * @param {Element} container
 * @param {string} text
 */
export function render(container, text) {
  const blocks = parseBlocks(text);
  blocks.forEach((block, index) => {
    const shown = container.children[index];
    const source = JSON.stringify(block);
    if (shown && sources.get(shown) === source) return;
    const node = BUILD[block.kind](block);
    sources.set(node, source);
    shown ? shown.replaceWith(node) : container.append(node);
  });
  while (container.children.length > blocks.length) container.lastElementChild.remove();
}

/** @returns {{kind: "code" | "list" | "text", lines: string[], language?: string}[]} */
export function parseBlocks(text) {
  const blocks = [];
  let open = null; // the block that the next line may continue
  let fence = null; // what closes the code block that we are in; an answer still streaming may never close it
  const start = (kind, ...lines) => blocks.push((open = { kind, lines }));
  for (const line of text.split(/\r\n|\n|\r/)) {
    const opening = FENCE.exec(line);
    if (fence) {
      if (line.trim().startsWith(fence) && opening && !opening[2].trim()) fence = open = null;
      else open.lines.push(line);
    } else if (opening) {
      fence = opening[1];
      start("code");
      open.language = opening[2].trim().split(/\s/, 1)[0];
    } else if (line.trim() === "") {
      open = null;
    } else if (ITEM.test(line)) {
      continuesList(open, line) ? open.lines.push(line) : start("list", line);
    } else if (open?.kind === "text" || (open?.kind === "list" && /^\s/.test(line))) {
      open.lines.push(line);
    } else {
      start("text", line);
    }
  }
  return blocks;
}

// Bullets between numbered items are often not indented; the numbering goes on after them by `ol.start`.
function continuesList(block, line) {
  if (block?.kind !== "list") return false;
  const [[, indent, number], [, , firstNumber]] = [ITEM.exec(line), ITEM.exec(block.lines[0])];
  return indent !== "" || Boolean(number) === Boolean(firstNumber);
}

const BUILD = {
  code({ lines, language }) {
    const pre = element("pre", element("code", lines.join("\n")));
    if (language) pre.dataset.language = language;
    pre.dir = "ltr";
    pre.tabIndex = 0; // so that the keyboard can scroll long lines
    return pre;
  },
  text: ({ lines }) => element("p", ...inline(lines.join("\n"))),
  list: ({ lines }) => buildList(lines),
};

function buildList(lines) {
  const levels = []; // the open lists, outermost first
  for (const line of lines) {
    const [, indent, number, text] = ITEM.exec(line) ?? [];
    if (indent === undefined) {
      levels.at(-1).list.lastElementChild.append("\n", ...inline(line.trim()));
      continue;
    }
    while (levels.length > 1 && indent.length < levels.at(-1).indent) levels.pop();
    if (levels.length === 0 || indent.length > levels.at(-1).indent + 1) {
      const list = element(number === undefined ? "ul" : "ol");
      if (number !== undefined) list.start = Number(number);
      levels.at(-1)?.list.lastElementChild.append(list);
      levels.push({ indent: indent.length, list });
    }
    levels.at(-1).list.append(element("li", ...inline(text)));
  }
  return levels[0].list;
}

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index));
    nodes.push(match[1] === undefined ? element("strong", ...inline(match[2])) : element("code", match[1]));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function element(tag, ...children) {
  const node = document.createElement(tag);
  node.append(...children);
  return node;
}
