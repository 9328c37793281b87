/** Where images lie in the patient: attributes of a frame, order of slices, letters of orientation, millimetres. */

import { first, number, numbers, text, values } from './json.js'

/**
 * The attributes of one frame: those of the instance, and of an enhanced object those of its functional groups too
 * (PS3.3 §C.7.6.16).
 * @param {object} set metadata of the instance
 * @param {number} frame from 1
 */
export function frameAttributes(set, frame) {
  const groups = [first(set, '52009229'), values(set, '52009230')[frame - 1]].filter(Boolean)
  if (!groups.length) return set
  const merged = { ...set }
  for (const group of groups) for (const macro of Object.values(group)) Object.assign(merged, macro.Value?.[0])
  return merged
}

/** @typedef {{ set: object, instance: string, frame: number, attributes: object }} Frame */

/**
 * All frames of a series in the order they are looked through: along the normal where they lie in parallel, else by number.
 * @param {object[]} sets metadata of the instances
 * @returns {Frame[]}
 */
export function framesOf(sets) {
  const ordered = [...sets].sort((a, b) => (number(a, '00200013') ?? 0) - (number(b, '00200013') ?? 0))
  const frames = ordered.flatMap((set) => {
    const count = Math.max(1, number(set, '00280008') ?? 1)
    return Array.from({ length: count }, (_, index) => {
      let attributes = null
      return {
        set,
        instance: text(set, '00080018'),
        frame: index + 1,
        get attributes() {
          return (attributes ??= frameAttributes(set, index + 1))
        },
      }
    })
  })
  const places = frames.map(planeOf)
  if (places.every((one) => one !== null) && new Set(places.map((one) => one.plane)).size === 1) {
    const order = frames.map((_, index) => index).sort((a, b) => places[a].along - places[b].along || a - b)
    return order.map((index) => frames[index])
  }
  return frames
}

/** The plane of a frame and where it lies along its normal, in millimetres; `null` when that is not known. */
export function planeOf(frame) {
  const at = numbers(frame.attributes, '00200032')
  const axes = numbers(frame.attributes, '00200037')
  if (at.length !== 3 || axes.length !== 6) return null
  const normal = cross(axes.slice(0, 3), axes.slice(3))
  return { plane: axes.map((value) => value.toFixed(2)).join(), reference: text(frame.attributes, '00200052'), along: at[0] * normal[0] + at[1] * normal[1] + at[2] * normal[2] }
}

const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d]

/** Letters of the directions along a row and down a column: `['L', 'P']`; empty texts where they are not known. */
export function orientation(attributes) {
  const axes = numbers(attributes, '00200037')
  if (axes.length === 6) return [letters(axes.slice(0, 3)), letters(axes.slice(3))]
  const told = values(attributes, '00200020').map(String)
  return told.length === 2 ? told : ['', '']
}

/** The patient's side that a direction leads to, the strongest first (PS3.3 §C.7.6.1.1.1). */
export function letters(direction) {
  const names = [['L', 'R'], ['P', 'A'], ['H', 'F']]
  return direction
    .map((value, axis) => ({ size: Math.abs(value), letter: names[axis][value >= 0 ? 0 : 1] }))
    .filter(({ size }) => size > 0.35)
    .sort((a, b) => b.size - a.size)
    .map(({ letter }) => letter)
    .join('')
}

const OPPOSITES = { L: 'R', R: 'L', P: 'A', A: 'P', H: 'F', F: 'H' }

/** The other side. */
export const opposite = (sides) => [...sides].map((letter) => OPPOSITES[letter] ?? letter).join('')

/** Millimetres from row to row and from column to column, and whether they are those of the detector; `null` if not known. */
export function spacing(attributes) {
  for (const [tag, detector] of [['00280030', false], ['00181164', true], ['00182010', false]]) {
    const found = numbers(attributes, tag)
    if (found.length === 2 && found.every((value) => value > 0)) return { row: found[0], column: found[1], detector }
  }
  return null
}

/** Height of a pixel in widths of one. */
export function aspect(attributes) {
  const found = spacing(attributes)
  if (found) return found.row / found.column
  const [vertical, horizontal] = numbers(attributes, '00280034')
  return vertical > 0 && horizontal > 0 ? vertical / horizontal : 1
}
