/** Windows: which are offered, and the shades they give (PS3.3 §C.11.2.1.2). */

import { first, numbers, text, values } from './json.js'
import { padding, rescale } from './pixels.js'

/** @typedef {{ center: number, width: number, shape: 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID' | 'LUT', name?: string, lut?: Lut }} Window */

/** @typedef {{ first: number, top: number, data: Uint16Array }} Lut the entry of a value is `round(value - first)` */

/** Windows that people use for CT; `name` is the key of a text. */
export const CT_WINDOWS = [
  { name: 'window.soft', center: 40, width: 400 },
  { name: 'window.lung', center: -600, width: 1500 },
  { name: 'window.bone', center: 400, width: 1800 },
  { name: 'window.brain', center: 40, width: 80 },
  { name: 'window.mediastinum', center: 50, width: 350 },
]

/** The windows that the image brings with it. @returns {Window[]} */
export function ownWindows(attributes) {
  const centers = numbers(attributes, '00281050')
  const widths = numbers(attributes, '00281051')
  const names = values(attributes, '00281055')
  const shape = text(attributes, '00281056') || 'LINEAR'
  const known = ['LINEAR', 'LINEAR_EXACT', 'SIGMOID'].includes(shape) ? shape : 'LINEAR'
  const found = centers.map((center, index) => ({ center, width: widths[index], shape: known, name: names[index] ? String(names[index]) : '' }))
  // Below 1, LINEAR is not defined; writers of floating point values use it all the same.
  const exact = (window) => (window.shape === 'LINEAR' && window.width < 1 ? { ...window, shape: 'LINEAR_EXACT' } : window)
  return found.filter(({ width }) => width > 0).map(exact)
}

/** The first VOI LUT of an image: its descriptor and where its entries are (PS3.3 §C.11.2.1.1); `null` when there is none. */
export function voiLut(attributes) {
  const item = first(attributes, '00283010')
  const descriptor = numbers(item, '00283002')
  if (descriptor.length !== 3 || !item['00283006']) return null
  const { slope, intercept } = rescale(attributes)
  const signed = first(attributes, '00280103') === 1 || intercept < 0 || slope < 0
  const low = ((descriptor[1] % 65536) + 65536) % 65536
  const begins = descriptor[1] < 0 || (signed && low > 32767) ? low - 65536 : low
  return { count: descriptor[0] % 65536 || 65536, first: begins, value: item['00283006'], name: text(item, '00283003') }
}

/** A table as a window: entries are words, or bytes where there are fewer of those. @returns {Window} */
export function lutWindow({ count, first: begins, name }, bytes) {
  const narrow = bytes.byteLength < count * 2
  const length = Math.min(count, narrow ? bytes.byteLength : bytes.byteLength >> 1)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data = Uint16Array.from({ length }, (_, at) => (narrow ? view.getUint8(at) : view.getUint16(at * 2, true)))
  const largest = data.reduce((most, value) => Math.max(most, value), 0)
  // The range that the largest entry needs: descriptors often announce more bits than there are.
  const top = 2 ** Math.max(8, 32 - Math.clz32(largest)) - 1
  return { center: begins + length / 2, width: length, shape: 'LUT', name, lut: { first: begins, top, data } }
}

/** A window from the smallest to the largest value there is. @returns {Window} */
export function fullWindow(data, attributes) {
  const { slope, intercept } = rescale(attributes)
  let [low, high] = [Infinity, -Infinity]
  const [none, most] = padding(attributes) ?? [Infinity, -Infinity]
  for (const value of data) {
    if ((value >= none && value <= most) || !Number.isFinite(value)) continue
    if (value < low) low = value
    if (value > high) high = value
  }
  if (low > high) [low, high] = [0, 1]
  const [a, b] = [low * slope + intercept, high * slope + intercept].sort((x, y) => x - y)
  if (data instanceof Float32Array) return { center: (a + b) / 2, width: b - a || 1, shape: 'LINEAR_EXACT' }
  // So that the ends are black and white by the formula of LINEAR.
  return { center: (a + b + 1) / 2, width: Math.max(1, b - a + 1), shape: 'LINEAR' }
}

/** The shade of a value, 0 to 1. @param {number} x @param {Window} window */
export function shade(x, { center, width, shape, lut }) {
  if (shape === 'LUT') return lut.data[Math.min(lut.data.length - 1, Math.max(0, Math.round(x - lut.first)))] / lut.top
  if (shape === 'SIGMOID') return 1 / (1 + Math.exp((-4 * (x - center)) / width))
  if (shape === 'LINEAR_EXACT') return Math.min(1, Math.max(0, (x - center) / width + 0.5))
  if (width <= 1) return x > center - 0.5 ? 1 : 0
  return Math.min(1, Math.max(0, (x - (center - 0.5)) / (width - 1) + 0.5))
}
