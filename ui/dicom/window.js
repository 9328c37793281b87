/** Windows: which are offered, and the shades they give (PS3.3 §C.11.2.1.2). */

import { numbers, text, values } from './json.js'
import { rescale } from './pixels.js'

/** @typedef {{ center: number, width: number, shape: 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID', name?: string }} Window */

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
  return found.filter(({ width }) => width > 0)
}

/** A window from the smallest to the largest value there is. @returns {Window} */
export function fullWindow(data, attributes) {
  const { slope, intercept } = rescale(attributes)
  let [low, high] = [Infinity, -Infinity]
  for (const value of data) {
    if (value < low) low = value
    if (value > high) high = value
  }
  const [a, b] = [low * slope + intercept, high * slope + intercept].sort((x, y) => x - y)
  // So that the ends are black and white by the formula of LINEAR.
  return { center: (a + b + 1) / 2, width: Math.max(1, b - a + 1), shape: 'LINEAR' }
}

/** The shade of a value, 0 to 1. @param {number} x @param {Window} window */
export function shade(x, { center, width, shape }) {
  if (shape === 'SIGMOID') return 1 / (1 + Math.exp((-4 * (x - center)) / width))
  if (shape === 'LINEAR_EXACT') return Math.min(1, Math.max(0, (x - center) / width + 0.5))
  if (width <= 1) return x > center - 0.5 ? 1 : 0
  return Math.min(1, Math.max(0, (x - (center - 0.5)) / (width - 1) + 0.5))
}
