/** From the bytes of a frame to numbers, and what can be done with an instance at all. */

import { first, number, text, values } from './json.js'

/** Beginning of the transfer syntaxes of films. */
const FILMS = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8]/

/**
 * How an instance is shown: `gray` and `rgb` from its samples; `picture` as the server renders it; `film`, `pdf`, `report`,
 * `none`.
 */
export function kindOf(attributes) {
  if (text(attributes, '00420012') === 'application/pdf') return 'pdf'
  if (!number(attributes, '00280010')) return attributes['0040A730'] || attributes['00420012'] ? 'report' : 'none'
  if (FILMS.test(text(attributes, '00083002'))) return 'film'
  const samples = number(attributes, '00280002') ?? 1
  const allocated = number(attributes, '00280100')
  const meaning = text(attributes, '00280004')
  const whole = allocated === 8 || allocated === 16
  if (samples === 1 && whole && /^MONOCHROME[12]$/.test(meaning) && !attributes['00283000']) return 'gray'
  if (samples === 3 && allocated === 8 && meaning === 'RGB' && number(attributes, '00280006') !== 1) return 'rgb'
  return 'picture'
}

/**
 * Samples of a frame as the texture takes them: without what stands above the bits stored, with their sign.
 * @param {ArrayBuffer} buffer little endian
 */
export function samples(buffer, attributes) {
  const rows = number(attributes, '00280010')
  const columns = number(attributes, '00280011')
  const kind = kindOf(attributes)
  const each = kind === 'rgb' ? 3 : 1
  const count = rows * columns * each
  const allocated = number(attributes, '00280100')
  if (buffer.byteLength < (count * allocated) / 8) throw new Error('short')
  if (kind === 'rgb') return { kind, rows, columns, data: new Uint8Array(buffer, 0, count) }
  const signed = number(attributes, '00280103') === 1
  const stored = number(attributes, '00280101') ?? allocated
  const high = number(attributes, '00280102') ?? stored - 1
  const Kind = allocated === 8 ? (signed ? Int8Array : Uint8Array) : signed ? Int16Array : Uint16Array
  const data = new Kind(buffer, 0, count)
  const [above, below] = [32 - 1 - high, 31 - (stored - 1)]
  if (stored < allocated) {
    if (signed) for (let at = 0; at < count; at += 1) data[at] = (data[at] << above) >> below
    else for (let at = 0; at < count; at += 1) data[at] = (data[at] << above) >>> below
  }
  return { kind, rows, columns, data }
}

/** Slope and intercept from stored to real values, and the name of their unit. */
export function rescale(attributes) {
  const slope = number(attributes, '00281053') ?? 1
  const intercept = number(attributes, '00281052') ?? 0
  const unit = text(attributes, '00281054') || (text(attributes, '00080060') === 'CT' ? 'HU' : '')
  return { slope: slope || 1, intercept, unit: unit === 'US' ? '' : unit }
}

/** Whether the picture lost something when it was compressed. */
export const isLossy = (attributes) => first(attributes, '00282110') === '01' || values(attributes, '00282114').length > 0
