/** The API's galleries, as far as this page uses them. */

import { address, authorization, json, list, parseServerTiming, quoted, read, send } from "./api.js";

const at = (name, call = "") => `v1/galleries/${encodeURIComponent(name)}${call}`;

export const listGalleries = (key) => list("v1/galleries", key);

/** One gallery, with its count of items. */
export const galleryDetails = async (name, key) => read(await send(at(name), { headers: authorization(key) }));

/** Create a gallery of the whole zoo; one that is already the same stays as it is. `fields`: name → type. */
export const putGallery = async ({ name, fields, key, signal }) =>
  read(await send(at(name), { method: "PUT", signal, ...json({ fields }, key) }));

/** Which of the items are there, with their digests: {data, missing}. */
export const lookUp = async ({ name, ids, key, signal }) =>
  read(await send(at(name, "/items/lookup"), { method: "POST", signal, ...json({ ids }, key) }));

/** Add or replace `items`, [{id, fields, blob}, …]: one result or error for each. */
export async function addItems({ name, items, deadlineMs, key, signal }) {
  const form = new FormData();
  for (const { id, blob } of items) form.append(`images[${id}]`, blob, "picture");
  const fields = Object.fromEntries(items.map(({ id, fields: values }) => [id, values]));
  form.append("request", JSON.stringify({ fields, ...(deadlineMs ? { deadline_ms: deadlineMs } : {}) }));
  return read(await send(at(name, "/items"), { method: "POST", body: form, headers: authorization(key), signal }));
}

/** What to search by: `query` has `text`, `id`, or nothing where a picture is to be put in. Unset fields are left out. */
export function searchRequest({ query, topK, filter, policy, backbone }) {
  return {
    queries: [query],
    top_k: topK,
    ...(filter ? { filter } : {}),
    ...(policy ? { policy } : {}),
    ...(policy === "single" ? { backbones: [backbone] } : {}),
    explain: true,
  };
}

/** Search by `request`; its query is `blob` where there is one. {body, requestId, timings, browserMs}. */
export async function search({ name, request, blob, key, signal }) {
  const body = blob ? { ...request, queries: [{ image: await dataUri(blob) }] } : request;
  const started = performance.now();
  const response = await send(at(name, "/search"), { method: "POST", signal, ...json(body, key) });
  return {
    body: await read(response),
    requestId: response.headers.get("X-Request-ID"),
    timings: parseServerTiming(response.headers.get("Server-Timing")),
    browserMs: performance.now() - started,
  };
}

function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The same search as a shell command. `file` is the name of the picture that is searched by, or null. */
export function searchAsCurl({ name, request, file, key }) {
  const call = [
    `curl -sS ${address(at(name, "/search"))}`,
    ...(key ? ['-H "Authorization: Bearer $QUORUM_API_KEY"'] : []),
    "-H 'Content-Type: application/json'",
  ];
  if (file === null) return [...call, `--data-binary ${quoted(JSON.stringify(request))}`].join(" \\\n  ");
  const rest = JSON.stringify({ ...request, queries: undefined }).slice(1);
  const [before, after] = ['{"queries":[{"image":"', `"}],${rest}`].map((text) => `printf %s ${quoted(text)}`);
  // The picture is too long for an argument, so the body is made on the way in.
  const body = `{ ${before}; base64 < ${quoted(file)} | tr -d '\\n'; ${after}; }`;
  return `${body} |\n  ${[...call, "--data-binary @-"].join(" \\\n  ")}`;
}
