/** Puts pictures into a gallery, batch by batch, and leaves out what is already there. */

import { ApiError } from "./api.js";
import { plural } from "./examples.js";
import { addItems, lookUp } from "./gallery-api.js";

const MOST_IN_BATCH = 16; // small enough for progress that moves on a slow machine
const MOST_LOOKED_UP = 500;
const MOST_WAITS = 20; // for a server that is busy
const LONGEST_WAIT_S = 10;

const chunks = (all, size) =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size));

/** `items` in groups that one call may carry. */
function batches(items, limits) {
  const mostBytes = 0.9 * (limits.max_body_bytes ?? Infinity);
  const groups = [];
  let bytes = Infinity;
  for (const item of items) {
    const group = groups.at(-1);
    if (!group || group.length >= Math.min(MOST_IN_BATCH, limits.max_images ?? Infinity) || bytes + item.size > mostBytes) {
      groups.push([item]);
      bytes = item.size;
    } else {
      group.push(item);
      bytes += item.size;
    }
  }
  return groups;
}

/** Those of `items` whose digest is known and that the gallery has with the same digest. */
async function there({ name, items, limits, key, signal }) {
  const same = new Set();
  const size = Math.min(MOST_LOOKED_UP, limits.max_items ?? Infinity);
  for (const part of chunks(items.filter(({ sha256 }) => sha256), size)) {
    const digests = new Map(part.map(({ id, sha256 }) => [id, sha256]));
    const { data } = await lookUp({ name, ids: [...digests.keys()], key, signal });
    for (const { id, digest } of data) if (digests.get(id) === digest) same.add(id);
  }
  return same;
}

async function patiently(call, signal) {
  for (let left = MOST_WAITS; ; left -= 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 429) || left === 0) throw error;
      await pause(Math.min(LONGEST_WAIT_S, Number(error.retryAfter) || 1), signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    setTimeout(resolve, 1000 * seconds);
  });
}

/** The results of one batch; a refusal of the only picture in a call is that picture's error. */
async function added(batch, options) {
  try {
    return (await patiently(() => addItems({ items: batch, ...options }), options.signal)).results;
  } catch (error) {
    const itsOwn = error instanceof ApiError && [400, 413, 422].includes(error.status);
    if (batch.length > 1 || !itsOwn) throw error;
    return [{ id: batch[0].id, error }];
  }
}

/**
 * Add `items`, [{id, fields, size, sha256?, load()}, …], to the gallery `name`; `load` gives the picture. After every
 * step `progress` is called with {done, total, changed, failed}, which is also what comes back: `failed` are
 * [{id, message}, …]. What was added before an error or an abort stays.
 */
export async function fill({ name, items, limits, key, signal, progress }) {
  const same = await there({ name, items, limits, key, signal });
  const state = { done: same.size, total: items.length, changed: 0, failed: [] };
  progress(state);
  const tooLarge = ({ size }) => size > (limits.max_image_bytes ?? Infinity);
  const wanted = items.filter(({ id }) => !same.has(id));
  for (const { id } of wanted.filter(tooLarge)) {
    state.failed.push({ id, message: `larger than the ${Math.floor(limits.max_image_bytes / 2 ** 20)} MiB of one picture` });
    state.done += 1;
  }
  for (const batch of batches(wanted.filter((item) => !tooLarge(item)), limits)) {
    const loaded = await Promise.all(batch.map(async ({ id, fields, load }) => ({ id, fields, blob: await load() })));
    const options = { name, deadlineMs: limits.max_deadline_ms, key, signal };
    for (const { id, status, error } of await added(loaded, options)) {
      if (error) state.failed.push({ id, message: error.message });
      else if (status !== "unchanged") state.changed += 1;
    }
    state.done += batch.length;
    progress(state);
  }
  return state;
}

/** What came of it, in a sentence. */
export function fillSentence({ total, changed, failed }) {
  const same = total - changed - failed.length;
  return [
    changed ? `${plural(changed, "picture")} added.` : "",
    same ? `${plural(same, "picture")} ${same === 1 ? "was" : "were"} already there.` : "",
    failed.length ? `${plural(failed.length, "picture")} could not be added.` : "",
  ].filter(Boolean).join(" ");
}
