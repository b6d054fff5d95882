/** What the items of galleries look like, as far as this page knows: the sample gallery's, and those added here. */

const FOLDER = "playground/gallery/";

const known = {
  sample: null, // gallery.json, once it was asked for
  own: new Map(), // gallery → id → the address of the picture
};

/** The sample gallery: {name, fields, items: [{id, sha256, fields}, …]}; null where it cannot be had. */
export async function sampleGallery() {
  if (!known.sample) {
    const response = await fetch(`${FOLDER}gallery.json`);
    if (!response.ok) return null;
    const content = await response.json();
    known.sample = { ...content, ids: new Set(content.items.map(({ id }) => id)) };
  }
  return known.sample;
}

/** Ids of samples carry the start of their digest, so they mean the same picture in whichever gallery they are. */
export function pictureOf(gallery, id) {
  return known.own.get(gallery)?.get(id) ?? (known.sample?.ids.has(id) ? FOLDER + encodeURIComponent(id) : null);
}

export async function samplePicture(id, signal) {
  const response = await fetch(FOLDER + encodeURIComponent(id), { signal });
  if (!response.ok) throw new Error(`${id} cannot be loaded`);
  return response.blob();
}

/** The picture of an item that was added here. */
export function remember(gallery, id, file) {
  if (!known.own.has(gallery)) known.own.set(gallery, new Map());
  const pictures = known.own.get(gallery);
  if (pictures.has(id)) URL.revokeObjectURL(pictures.get(id));
  pictures.set(id, URL.createObjectURL(file));
}

/** Every value that the sample gallery has in this field, sorted. */
export function sampleValues(gallery, field) {
  if (known.sample?.name !== gallery) return [];
  return [...new Set(known.sample.items.map(({ fields }) => fields[field]).filter((value) => value !== undefined))].sort();
}
