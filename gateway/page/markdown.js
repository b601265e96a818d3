/**
 * Markdown as answers use it, shown as it grows.
 *
 * No text becomes markup: HTML is off, links lead to http(s) alone, images stay text. The page's Content-Security-Policy
 * would stop what got through.
 */

import MarkdownIt from "./markdown-it.js";

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true });
// A reference ("[x]: url") can change what is above it, and so would an answer that was already shown.
markdown.disable(["image", "reference"]);
markdown.validateLink = (url) => /^https?:\/\//i.test(url);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
for (const schema of ["ftp:", "mailto:", "//"]) markdown.linkify.add(schema, null);

Object.assign(markdown.renderer.rules, { fence: code, code_block: code, link_open: link, th_open: cell, td_open: cell });

function code(tokens, index) {
  const { content, info } = tokens[index];
  const language = markdown.utils.escapeHtml(info.trim().split(/\s/, 1)[0]);
  const label = language && ` data-language="${language}"`;
  // The keyboard scrolls long lines, so the block takes the focus.
  return `<pre${label} dir="ltr" tabindex="0"><code>${markdown.utils.escapeHtml(content.replace(/\n$/, ""))}</code></pre>`;
}

function link(tokens, index, options, _, renderer) {
  tokens[index].attrSet("target", "_blank");
  tokens[index].attrSet("rel", "noopener noreferrer");
  return renderer.renderToken(tokens, index, options);
}

/** The policy allows no `style` attribute. */
function cell(tokens, index) {
  const { tag, attrs } = tokens[index];
  const align = attrs?.find(([name]) => name === "style")?.[1].split(":")[1];
  return align ? `<${tag} data-align="${align}">` : `<${tag}>`;
}

/** Of a container: the text that no further text can change, and how many of its children show that. */
const settled = new WeakMap();
/** Of a child: the Markdown that it shows. */
const sources = new WeakMap();

/**
 * Makes `container` show `text`. When the text has only grown, the blocks before its last one are neither parsed nor
 * built again: the cost does not grow with the answer, and the reader keeps a selection.
 * @param {Element} container
 * @param {string} text
 */
export function render(container, text) {
  text = text.replace(/\r\n?/g, "\n");
  const before = settled.get(container);
  const kept = before && text.startsWith(before.text) ? before : { text: "", count: 0 };
  const blocks = parseBlocks(text.slice(kept.text.length));
  blocks.forEach(({ source, html }, index) => show(container, kept.count + index, source, html));
  while (container.children.length > kept.count + blocks.length) container.lastElementChild.remove();
  const final = blocks.filter((block) => block.final);
  settled.set(container, {
    text: kept.text + final.map((block) => block.source).join(""),
    count: kept.count + final.length,
  });
}

function show(container, index, source, html) {
  const shown = container.children[index];
  if (shown && sources.get(shown) === source) return;
  const template = document.createElement("template");
  template.innerHTML = html();
  const node = template.content.firstElementChild;
  sources.set(node, source);
  shown ? shown.replaceWith(node) : container.append(node);
}

/**
 * The top-level blocks of a text; each becomes one element. A block is final once the next one has two whole lines:
 * with the last line, what looks like a new block may still turn out as the rest of this one ("#" is a heading, "#1" is
 * none; a table is one only with its second line).
 */
function parseBlocks(text) {
  const env = {};
  const groups = topLevel(markdown.parse(text, env));
  const starts = lineStarts(text);
  const firsts = groups.map((tokens) => tokens[0].map[0]);
  const begins = firsts.map((line, index) => (index === 0 ? 0 : starts[line]));
  return groups.map((tokens, index) => ({
    source: text.slice(begins[index], begins[index + 1]),
    final: firsts[index + 1] < starts.length - 2,
    html: () => markdown.renderer.render(tokens, markdown.options, env),
  }));
}

/** The tokens of each top-level block. */
function topLevel(tokens) {
  const groups = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) groups.push([]);
    groups.at(-1).push(token);
    depth += token.nesting;
  }
  return groups;
}

function lineStarts(text) {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}
