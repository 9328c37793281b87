/** Values of DICOM JSON (PS3.18 Annex F). Imports nothing. */

/** The first value of an attribute, by its number; `undefined` when there is none. */
export const first = (set, tag) => set?.[tag]?.Value?.[0]

/** All values. */
export const values = (set, tag) => set?.[tag]?.Value ?? []

/** The first value as a text. */
export const text = (set, tag) => {
  const value = first(set, tag)
  return value === undefined || value === null ? '' : typeof value === 'object' ? name(value) : String(value)
}

/** The first value as a number; `undefined` when it is none. */
export const number = (set, tag) => {
  const value = Number(first(set, tag) ?? Number.NaN)
  return Number.isFinite(value) ? value : undefined
}

/** All values that are numbers, when every one is. */
export const numbers = (set, tag) => {
  const found = values(set, tag).map(Number)
  return found.every(Number.isFinite) ? found : []
}

/** A name of a person: the groups of letters, signs and sounds, each once. */
export function name(value) {
  const groups = [value.Alphabetic, value.Ideographic, value.Phonetic].filter(Boolean).map(spoken)
  return [...new Set(groups)].join(' · ')
}

/** `Doe^Jane^^Dr` as `Doe, Jane, Dr`. */
function spoken(group) {
  return group.split('^').map((part) => part.trim()).filter(Boolean).join(', ')
}

/** `00100010` as `(0010,0010)`. */
export const shownTag = (tag) => `(${tag.slice(0, 4)},${tag.slice(4)})`

/** `PatientBirthDate` as `Patient Birth Date`, `SOPInstanceUID` as `SOP Instance UID`. */
export const spaced = (keyword) => keyword.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
