// The API's OpenAPI document as a page. Everything goes into the page as text, so nothing in the document can be markup.

const TABLE_HEAD = ["name", "type", "default", "rule"];
const RULES = [
  ["minimum", "≥"], ["maximum", "≤"], ["exclusiveMinimum", ">"], ["exclusiveMaximum", "<"],
  ["minLength", "length ≥"], ["maxLength", "length ≤"], ["minItems", "items ≥"], ["maxItems", "items ≤"],
];

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function nameOf(reference) {
  return reference.split("/").pop();
}

/** A schema's type in one line; a model by its name, which has a table of its own. */
function typeOf(schema) {
  if (schema.$ref) return nameOf(schema.$ref);
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return [...new Set(options.map(typeOf))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "any"}`;
  return schema.type ?? "any";
}

/** The bounds of a schema and of its options, and its description. */
function ruleOf(schema) {
  const bounds = [schema, ...(schema.anyOf ?? schema.oneOf ?? [])].flatMap((option) =>
    RULES.filter(([key]) => key in option).map(([key, sign]) => `${sign} ${option[key]}`),
  );
  return [bounds.join(", "), schema.description].filter(Boolean).join("; ");
}

function table(rows) {
  const head = element("tr", ...TABLE_HEAD.map((title) => element("th", title)));
  const body = rows.map((cells) => element("tr", ...cells.map((cell) => element("td", cell))));
  const scroll = element("div", element("table", element("thead", head), element("tbody", ...body)));
  scroll.className = "scroll";
  return scroll;
}

function propertiesOf(model) {
  return Object.entries(model.properties ?? {}).map(([name, schema]) => [
    element("code", name),
    typeOf(schema),
    (model.required ?? []).includes(name) ? "required" : JSON.stringify(schema.default ?? null),
    ruleOf(schema),
  ]);
}

function operation(method, path, described, models) {
  const section = element("section", element("h3", element("code", `${method.toUpperCase()} ${path}`)));
  if (described.description) section.append(element("p", described.description));
  const parameters = (described.parameters ?? []).map(({ name, in: place, required, schema }) => [
    element("code", name), `${typeOf(schema)}, in the ${place}`, required ? "required" : "", ruleOf(schema),
  ]);
  if (parameters.length) section.append(table(parameters));
  const body = described.requestBody?.content["application/json"]?.schema;
  if (body) {
    section.append(element("p", "Body: ", element("code", typeOf(body))));
    if (body.$ref) section.append(table(propertiesOf(models[nameOf(body.$ref)])));
  }
  const statuses = Object.entries(described.responses).map(([status, { description }]) => `${status} ${description}`);
  section.append(element("p", element("small", statuses.join(" · "))));
  return section;
}

function operations(api) {
  const models = api.components?.schemas ?? {};
  const groups = {};
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, described] of Object.entries(methods)) {
      (groups[described.tags?.[0] ?? "other"] ??= []).push(operation(method, path, described, models));
    }
  }
  const tables = Object.entries(models).map(([name, model]) =>
    element("details", element("summary", element("code", name)), table(propertiesOf(model))),
  );
  return [
    ...Object.entries(groups).flatMap(([tag, sections]) => [element("h2", tag), ...sections]),
    element("h2", "Models"),
    ...tables,
  ];
}

async function show() {
  const place = document.querySelector("#operations");
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`openapi.json: HTTP status ${response.status}`);
    place.replaceChildren(...operations(await response.json()));
  } catch (error) {
    place.replaceChildren(element("p", `The description cannot be shown. ${error.message}`));
  }
}

await show();
