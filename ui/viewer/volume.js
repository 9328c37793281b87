/**
 * A volume of parallel slices, cut along its three axes.
 *
 * What is cut comes as frames with samples and attributes of their own, so everything that works on a slice works on it too.
 * A slab shows the highest of several cuts (maximum intensity). Invariant: samples are read, never copied but into a cut.
 */

import { number, numbers } from '../dicom/json.js'
import { planeOf, spacing } from '../dicom/geometry.js'
import { kindOf, rescale } from '../dicom/pixels.js'

/** The three ways to cut: as it was stored, along its columns, along its rows. */
export const PLANES = ['axial', 'coronal', 'sagittal']
/** Part of the distance between slices that may differ. */
const UNEVEN = 0.02
/** Frames that are fetched at the same time. */
const FETCHED = 6

/** The volume of a series; `null` where its slices make none. @param {import('../dicom/geometry.js').Frame[]} frames */
export function volumeOf(frames, store) {
  if (frames.length < 3) return null
  const [{ attributes }] = frames
  const [rows, columns] = [number(attributes, '00280010'), number(attributes, '00280011')]
  const pixel = spacing(attributes)
  const { slope, intercept } = rescale(attributes)
  const alike = (frame) => {
    const own = rescale(frame.attributes)
    const same = ['00280010', '00280011', '00280100', '00280103', '00280004'].every((tag) => String(numberOrText(frame.attributes, tag)) === String(numberOrText(attributes, tag)))
    return kindOf(frame.attributes) === 'gray' && same && own.slope === slope && own.intercept === intercept
  }
  const places = frames.map(planeOf)
  if (!pixel || !frames.every(alike) || places.some((place) => !place || place.plane !== places[0].plane)) return null
  const steps = places.slice(1).map((place, index) => place.along - places[index].along)
  const step = steps.reduce((sum, one) => sum + one, 0) / steps.length
  if (!(step > 0) || steps.some((one) => Math.abs(one - step) > step * UNEVEN)) return null
  const bytes = frames.length * rows * columns * Math.ceil((number(attributes, '00280100') ?? 16) / 8)
  if (bytes > store.cap * 0.9) return null
  return new Volume(frames, store, { rows, columns, step, pixel })
}

const numberOrText = (attributes, tag) => attributes[tag]?.Value?.[0]

class Volume {
  constructor(frames, store, { rows, columns, step, pixel }) {
    Object.assign(this, { slices: frames, store, rows, columns, step, pixel })
    this.count = frames.length
    this.data = []
    /** Millimetres of a slab; 0 for a single cut. */
    this.slab = 0
    this.made = new Map()
    this.ended = false
    const [{ attributes }] = frames
    const axes = numbers(attributes, '00200037')
    const [u, v] = [axes.slice(0, 3), axes.slice(3)]
    const down = [v[1] * u[2] - v[2] * u[1], v[2] * u[0] - v[0] * u[2], v[0] * u[1] - v[1] * u[0]]
    const origin = numbers(frames[this.count - 1].attributes, '00200032')
    const moved = (direction, by) => origin.map((value, axis) => value + direction[axis] * by)
    const cut = (plane, index, size, position, orientation, gap) => ({
      ...frames[0],
      plane,
      index,
      instance: plane,
      frame: index + 1,
      study: frames[0].study,
      series: frames[0].series,
      set: frames[0].set,
      attributes: {
        ...attributes,
        '00280010': { vr: 'US', Value: [this.count] },
        '00280011': { vr: 'US', Value: [size] },
        '00280030': { vr: 'DS', Value: [step, gap] },
        '00200032': { vr: 'DS', Value: position },
        '00200037': { vr: 'DS', Value: orientation },
        '00201041': undefined,
        '00180050': undefined,
        '00283010': undefined,
      },
    })
    // Heads are up: the last slice is the first row.
    this.cuts = {
      axial: frames.map((frame, index) => ({ ...frame, attributes: { ...frame.attributes, '00283010': undefined }, plane: 'axial', index, instance: 'axial', frame: index + 1 })),
      coronal: Array.from({ length: rows }, (_, row) => cut('coronal', row, columns, moved(v, row * pixel.row), [...u, ...down], pixel.column)),
      sagittal: Array.from({ length: columns }, (_, column) => cut('sagittal', column, rows, moved(u, column * pixel.column), [...v, ...down], pixel.row)),
    }
  }

  /** Fetches every slice. @param {(done: number) => void} progress */
  async load(progress) {
    let next = 0
    let done = 0
    const work = async () => {
      while (next < this.count && !this.ended) {
        const at = next
        next += 1
        this.data[at] = (await this.store.load(this.slices[at], false)).data
        done += 1
        progress(done)
      }
    }
    await Promise.all(Array.from({ length: FETCHED }, work))
  }

  /** Cuts on both sides that a slab takes in. */
  sides(plane) {
    const gap = { axial: this.step, coronal: this.pixel.row, sagittal: this.pixel.column }[plane]
    return Math.floor(this.slab / 2 / gap)
  }

  /** The samples of a cut; the last of each plane is kept. */
  image({ plane, index }) {
    const kept = this.made.get(plane)
    if (kept?.index === index && kept.slab === this.slab) return kept.image
    const sides = this.sides(plane)
    const most = { axial: this.count, coronal: this.rows, sagittal: this.columns }[plane]
    let data = null
    for (let at = Math.max(0, index - sides); at <= Math.min(most - 1, index + sides); at += 1) data = highest(data, this.cut(plane, at))
    const [rows, columns] = plane === 'axial' ? [this.rows, this.columns] : [this.count, plane === 'coronal' ? this.columns : this.rows]
    const image = { kind: 'gray', rows, columns, data, lut: null, bytes: 0 }
    this.made.set(plane, { index, slab: this.slab, image })
    return image
  }

  cut(plane, at) {
    const { rows, columns, count, data } = this
    if (plane === 'axial') return data[at]
    const Kind = data[0].constructor
    if (plane === 'coronal') {
      const out = new Kind(columns * count)
      for (let row = 0; row < count; row += 1) out.set(data[count - 1 - row].subarray(at * columns, (at + 1) * columns), row * columns)
      return out
    }
    const out = new Kind(rows * count)
    for (let row = 0; row < count; row += 1) {
      const slice = data[count - 1 - row]
      for (let y = 0, to = row * rows, from = at; y < rows; y += 1, to += 1, from += columns) out[to] = slice[from]
    }
    return out
  }

  end() {
    this.ended = true
    this.data = []
    this.made.clear()
  }

  /** What a viewport takes its images from. */
  get source() {
    return {
      peek: (frame) => this.image(frame),
      load: async (frame) => this.image(frame),
      preview: async () => null,
      want() {},
    }
  }
}

/** The higher of two cuts, sample by sample; a new one, for the first may be a slice. */
function highest(one, other) {
  if (!one) return other
  const out = one.slice()
  for (let at = 0; at < out.length; at += 1) if (other[at] > out[at]) out[at] = other[at]
  return out
}
