/** Quorum's API, as far as this page uses it. All addresses are relative to the page. */

/** An answer that is not the one asked for: the API's one error shape, or what stands in for it. */
export class ApiError extends Error {
  constructor(message, known = {}) {
    super(message);
    Object.assign(this, { status: null, code: null, param: null, requestId: null, retryAfter: null, body: null }, known);
  }
}

export function authorization(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Whether another key would be answered otherwise: there is none, or it does not allow this. */
export const wantsKey = (error) => error.status === 401 || error.status === 403;

/** `fetch`, whose failure to reach the server is an ApiError. */
export async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", { code: "unreachable" });
  }
}

/** The JSON of an answer. Raises ApiError where it is an error or no JSON. */
export async function read(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    throw new ApiError("The server sent something other than JSON.", { status: response.status, code: "not_json" });
  }
  if (response.ok) return body;
  const error = body?.error ?? {};
  throw new ApiError(error.message ?? "The server gave no reason.", {
    status: response.status,
    code: error.code,
    param: error.param,
    requestId: error.request_id ?? response.headers.get("X-Request-ID"),
    retryAfter: response.headers.get("Retry-After"),
    body,
  });
}

/** What this server can do: policies, limits, versions. */
export const info = async (key) => read(await send("info", { headers: authorization(key) }));

/** Every object of a list, page by page. */
export async function list(path, key) {
  const objects = [];
  let after = null;
  do {
    const query = after === null ? "" : `?after=${encodeURIComponent(after)}`;
    const page = await read(await send(path + query, { headers: authorization(key) }));
    objects.push(...page.data);
    after = page.has_more ? page.last_id : null;
  } while (after !== null);
  return objects;
}

/** The options of a call that sends `body` as JSON. */
export const json = (body, key) => ({
  body: JSON.stringify(body),
  headers: { ...authorization(key), "Content-Type": "application/json" },
});
const labelSetPath = (name) => `v1/label-sets/${encodeURIComponent(name)}`;

/** One label set, with the controller and the cascade that are active. */
export const labelSet = async (name, key) => read(await send(labelSetPath(name), { headers: authorization(key) }));

/** Create or replace a label set; without a template the server's own prompts apply. */
export const putLabelSet = async ({ name, labels, template, key }) =>
  read(await send(labelSetPath(name), {
    method: "PUT",
    ...json({ labels, ...(template ? { templates: [template] } : {}) }, key),
  }));

/** Begin to fit a controller on `examples`, [{label, file}, …]: the job. Raises ApiError. */
export async function fitController({ name, examples, key }) {
  const form = new FormData();
  for (const { label, file } of examples) form.append(`examples[${label}]`, file, file.name);
  const options = { method: "POST", body: form, headers: authorization(key) };
  return read(await send(`${labelSetPath(name)}/controller`, options));
}

const jobPath = (id) => `v1/jobs/${encodeURIComponent(id)}`;

export const job = async (id, key) => read(await send(jobPath(id), { headers: authorization(key) }));

export const cancelJob = async (id, key) =>
  read(await send(jobPath(id), { method: "DELETE", headers: authorization(key) }));

/** "decode;dur=1.2, total;dur=9" → [{name: "decode", ms: 1.2}, …]. */
export function parseServerTiming(header) {
  return (header ?? "")
    .split(",")
    .map((entry) => entry.split(";").map((part) => part.trim()))
    .map(([name, ...parameters]) => {
      const duration = parameters.find((parameter) => parameter.startsWith("dur="));
      const description = parameters.find((parameter) => parameter.startsWith("desc="));
      return {
        id: name,
        name: description ? description.slice(5).replaceAll('"', "") : name,
        ms: duration ? Number(duration.slice(4)) : NaN,
      };
    })
    .filter(({ name, ms }) => name && Number.isFinite(ms));
}

/** The body of POST v1/classify, without the picture. Unset fields are left out. */
export function classifyRequest({ labels, labelSet, template, policy, backbone, topK }) {
  return {
    ...(labelSet ? { label_set: labelSet } : { labels }),
    ...(!labelSet && template ? { templates: [template] } : {}),
    ...(policy ? { policy } : {}),
    ...(policy === "single" ? { backbones: [backbone] } : {}),
    top_k: topK,
    explain: true,
  };
}

/** Ask about one picture: {body, requestId, timings, browserMs}. Raises ApiError, or AbortError once `signal` fires. */
export async function classify({ blob, name, request, key, signal }) {
  const form = new FormData();
  form.append("images", blob, name);
  form.append("request", JSON.stringify(request));
  const started = performance.now();
  const response = await send("v1/classify", { method: "POST", body: form, headers: authorization(key), signal });
  const body = await read(response);
  return {
    body,
    requestId: response.headers.get("X-Request-ID"),
    timings: parseServerTiming(response.headers.get("Server-Timing")),
    browserMs: performance.now() - started,
  };
}

export const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The full address of `path`, for a shell. */
export const address = (path) => quoted(new URL(path, document.baseURI).href);

/** The same call as a shell command. `download` is the address of a bundled sample, null for the user's own file. */
export function asCurl({ name, request, download, key }) {
  const file = `images=@"${name.replaceAll(/["\\]/g, "\\$&")}"`;
  const fetchSample = download ? `curl -sS -o ${quoted(name)} ${address(download)}\n` : "";
  const lines = [
    `curl -sS ${address("v1/classify")}`,
    ...(key ? ['-H "Authorization: Bearer $QUORUM_API_KEY"'] : []),
    `-F ${quoted(file)}`,
    `--form-string ${quoted(`request=${JSON.stringify(request)}`)}`,
  ];
  return fetchSample + lines.join(" \\\n  ");
}
