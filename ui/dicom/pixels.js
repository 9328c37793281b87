/** From the bytes of a frame to numbers, and what can be done with an instance at all. */

import { first, number, text, values } from './json.js'

/** Beginning of the transfer syntaxes of films. */
const FILMS = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8]/

/** Transfer syntaxes whose frames are sent as they were stored, with the colours and planes of their attributes. */
const NATIVE = ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99']
const isNative = (attributes) => {
  const told = text(attributes, '00083002')
  return !told || NATIVE.includes(told)
}

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
  const isRead = attributes['7FE00008'] ? allocated === 32 : [1, 8, 16, 32].includes(allocated) && !attributes['7FE00009']
  if (samples === 1 && isRead && /^MONOCHROME[12]$/.test(meaning) && !attributes['00283000']) return 'gray'
  if (samples === 3 && allocated === 8 && isRead) {
    const planes = number(attributes, '00280006') === 1
    if (meaning === 'RGB' && (!planes || isNative(attributes))) return 'rgb'
    if (/^YBR_FULL(_422)?$/.test(meaning) && isNative(attributes)) return 'rgb'
  }
  return 'picture'
}

/**
 * Samples of a frame as the texture takes them: without what stands above the bits stored, with their sign; colours as red,
 * green and blue, pixel after pixel.
 * @param {ArrayBuffer} buffer little endian
 */
export function samples(buffer, attributes) {
  const rows = number(attributes, '00280010')
  const columns = number(attributes, '00280011')
  const kind = kindOf(attributes)
  const pixels = rows * columns
  const allocated = number(attributes, '00280100')
  const enough = (bytes) => {
    if (buffer.byteLength < bytes) throw new Error('short')
  }
  if (kind === 'rgb') {
    const halved = text(attributes, '00280004') === 'YBR_FULL_422'
    enough(pixels * (halved ? 2 : 3))
    return { kind, rows, columns, data: colours(new Uint8Array(buffer), attributes, pixels, halved) }
  }
  if (allocated === 1) {
    enough(Math.ceil(pixels / 8))
    const packed = new Uint8Array(buffer)
    return { kind, rows, columns, data: Uint8Array.from({ length: pixels }, (_, at) => (packed[at >> 3] >> (at & 7)) & 1) }
  }
  enough((pixels * allocated) / 8)
  if (attributes['7FE00008']) return { kind, rows, columns, data: new Float32Array(buffer, 0, pixels) }
  const signed = number(attributes, '00280103') === 1
  const stored = number(attributes, '00280101') ?? allocated
  const high = number(attributes, '00280102') ?? stored - 1
  const [Signed, Unsigned] = { 8: [Int8Array, Uint8Array], 16: [Int16Array, Uint16Array], 32: [Int32Array, Uint32Array] }[allocated]
  const data = new (signed ? Signed : Unsigned)(buffer, 0, pixels)
  const [above, below] = [32 - 1 - high, 31 - (stored - 1)]
  if (stored < allocated) {
    if (signed) for (let at = 0; at < pixels; at += 1) data[at] = (data[at] << above) >> below
    else for (let at = 0; at < pixels; at += 1) data[at] = (data[at] << above) >>> below
  }
  return { kind, rows, columns, data }
}

/** Colours of native frames as red, green and blue (PS3.3 §C.7.6.3.1.2). */
function colours(bytes, attributes, pixels, halved) {
  const isLuminance = text(attributes, '00280004').startsWith('YBR') && isNative(attributes)
  const planes = !halved && number(attributes, '00280006') === 1
  if (!isLuminance && !planes) return bytes.length === pixels * 3 ? bytes : bytes.slice(0, pixels * 3)
  const out = new Uint8ClampedArray(pixels * 3)
  for (let at = 0; at < pixels; at += 1) {
    let parts
    if (halved) {
      // Two pixels share their colour: Y Y B R.
      const pair = (at >> 1) * 4
      parts = [bytes[pair + (at & 1)], bytes[pair + 2], bytes[pair + 3]]
    } else if (planes) parts = [bytes[at], bytes[pixels + at], bytes[2 * pixels + at]]
    else parts = [bytes[at * 3], bytes[at * 3 + 1], bytes[at * 3 + 2]]
    if (isLuminance) {
      const [y, b, r] = [parts[0], parts[1] - 128, parts[2] - 128]
      parts = [y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b]
    }
    out[at * 3] = parts[0]
    out[at * 3 + 1] = parts[1]
    out[at * 3 + 2] = parts[2]
  }
  return new Uint8Array(out.buffer)
}

/** Lowest and highest stored value that stand for no pixel, which is black (PS3.3 §C.7.5.1.1.2); `null` when there are none. */
export function padding(attributes) {
  const signed = number(attributes, '00280103') === 1
  const stored = (value) => (signed && value > 32767 && value <= 65535 ? value - 65536 : value)
  const [tag, limit] = attributes['00280120'] ? ['00280120', '00280121'] : ['00280122', '00280124']
  const value = number(attributes, tag)
  if (value === undefined) return null
  const other = number(attributes, limit) ?? value
  return [stored(value), stored(other)].sort((a, b) => a - b)
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
