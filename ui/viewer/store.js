/**
 * Frames in memory: what is looked at first, then what is next to it, then the rest in the direction of travel.
 *
 * Nothing is kept on disk: frames are patient data. Invariant: what is held stays below the cap.
 */

import { kindOf, samples } from '../dicom/pixels.js'
import { lutWindow, voiLut } from '../dicom/window.js'
import { number, text } from '../dicom/json.js'
import { DICOM, ask, wait } from '../net/api.js'
import { parts } from '../net/parts.js'
import { path } from '../net/qido.js'

/** Samples as they are, whatever they were stored as. */
const SAMPLES = 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1'
/** The same for a whole series in one answer, a part for each instance; frames from which that pays, and those next to what is looked at that come before. */
const SERIES = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
const MANY = 25
const NEAR = 6
/** Requests at the same time beside the one that is looked at. */
const REQUESTS = 6
/** Milliseconds that samples may take before a small picture is asked for too, and bytes from which it pays. */
const PATIENCE = 200
const LARGE = 1 << 17
/** Bytes of an answer whose time tells how fast the link is. */
const TELLING = 8 << 10
/** Bytes at most where the browser does not tell its memory, and ever. */
const MODEST = 512 << 20
const MOST = 1 << 30

/** @typedef {{ kind: string, rows: number, columns: number, data?: any, bitmap?: ImageBitmap, bytes: number }} Image */

/** Bytes a millisecond of the last long answer that came over the wire; endless where none did. */
function rate() {
  const [last] = performance
    .getEntriesByType('resource')
    .filter(({ transferSize }) => transferSize > TELLING)
    .slice(-1)
  return last ? last.transferSize / Math.max(1, last.responseEnd - last.responseStart) : Infinity
}

/** Bytes of the samples of an instance of one frame; no number where they cannot be read from a series in one answer. */
function sizeOf({ attributes }) {
  const allocated = number(attributes, '00280100')
  const isPlain = kindOf(attributes) === 'gray' ? [8, 16, 32].includes(allocated) && !attributes['7FE00008'] : kindOf(attributes) === 'rgb' && text(attributes, '00280004') !== 'YBR_FULL_422'
  const frames = number(attributes, '00280008') ?? 1
  return isPlain && frames === 1 ? (number(attributes, '00280010') * number(attributes, '00280011') * (number(attributes, '00280002') ?? 1) * allocated) / 8 : Number.NaN
}

export class Store {
  /** @param {number} [cap] bytes */
  constructor(cap = Math.min(MOST, navigator.deviceMemory ? (navigator.deviceMemory << 30) / 4 || MOST : MODEST)) {
    this.cap = cap
    this.bytes = 0
    /** @type {Map<string, Image>} the least used first */
    this.held = new Map()
    this.loading = new Map()
    /** Tables of instances, by their UID. */
    this.tables = new Map()
    this.wanted = new Map()
    /** Series that come in one answer, by who wants them. @type {Map<object, { frames: object[], end: AbortController, done: Promise<void> }>} */
    this.streams = new Map()
    this.running = 0
    this.ended = new AbortController()
    this.listeners = new Set()
    /** Series that were asked for in one answer already. */
    this.tried = new WeakSet()
    /** Milliseconds that the last samples took which somebody waited for. */
    this.took = 0
  }

  static key(frame) {
    return `${frame.instance}/${frame.frame}`
  }

  /** The image, when it is here. */
  peek(frame) {
    const key = Store.key(frame)
    const image = this.held.get(key)
    if (image) {
      this.held.delete(key)
      this.held.set(key, image)
    }
    return image
  }

  has(frame) {
    return this.held.has(Store.key(frame))
  }

  /** The image, fetched when it is not here. @returns {Promise<Image>} */
  load(frame, urgent = true) {
    const there = this.peek(frame)
    if (there) return Promise.resolve(there)
    const key = Store.key(frame)
    let loading = this.loading.get(key)
    const stream = !urgent && !loading && [...this.streams.values()].find(({ frames }) => frames.includes(frame))
    if (stream) return stream.done.then(() => this.load(frame))
    if (!loading) {
      loading = this.fetched(frame, urgent)
        .then((image) => this.keep(key, image))
        .finally(() => this.loading.delete(key))
      this.loading.set(key, loading)
    }
    return loading
  }

  /**
   * A small picture of a frame whose samples take long, for until they are here; `null` when they came before.
   * @param {{ frame: object, width: number, height: number, window: object | null }} wish
   * @param {Promise<unknown>} samples
   */
  async preview({ frame, width, height, window }, samples) {
    const { attributes } = frame
    const [rows, columns] = [number(attributes, '00280010') ?? 0, number(attributes, '00280011') ?? 0]
    const bytes = (rows * columns * (number(attributes, '00280002') ?? 1) * (number(attributes, '00280100') ?? 8)) / 8
    if (bytes < LARGE || kindOf(attributes) === 'picture') return null
    const came = samples.then(() => true, () => true)
    const patience = Math.max(this.took / 2, bytes / rate()) > PATIENCE ? 0 : PATIENCE
    if (await Promise.race([came, wait(patience).then(() => false)])) return null
    const query = new URLSearchParams({ viewport: `${Math.min(columns, width)},${Math.min(rows, height)}` })
    if (window && window.shape !== 'LUT') query.set('window', `${window.center},${window.width},${window.shape.toLowerCase().replace('_', '-')}`)
    const place = `${DICOM}/${path(frame.study, frame.series, frame.instance)}/frames/${frame.frame}/rendered?${query}`
    const answer = await ask(place, { accept: 'image/jpeg', signal: this.ended.signal, priority: 'high' })
    // As large as the image, so that it lies where the samples will.
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: 'none', premultiplyAlpha: 'none', resizeWidth: columns, resizeHeight: rows })
    return { kind: 'picture', isPreview: true, rows, columns, bitmap, bytes: 0 }
  }

  async fetched(frame, urgent) {
    const { attributes } = frame
    const begun = performance.now()
    const place = `${DICOM}/${path(frame.study, frame.series, frame.instance)}/frames/${frame.frame}`
    const options = { signal: this.ended.signal, priority: urgent ? 'high' : 'low' }
    const kind = kindOf(attributes)
    if (kind === 'gray' || kind === 'rgb') {
      const [buffer, lut] = await Promise.all([ask(place, { ...options, accept: SAMPLES }).then((answer) => answer.arrayBuffer()), kind === 'gray' ? this.table(frame) : null])
      const image = samples(buffer, attributes)
      if (urgent) this.took = performance.now() - begun
      return { ...image, lut, bytes: image.data.byteLength }
    }
    const answer = await ask(`${place}/rendered`, { ...options, accept: 'image/png' })
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: 'none', premultiplyAlpha: 'none' })
    return { kind: 'picture', rows: bitmap.height, columns: bitmap.width, bitmap, bytes: bitmap.width * bitmap.height * 4 }
  }

  /** The image's own table from values to shades, as a window; read once for an instance. */
  table(frame) {
    const found = voiLut(frame.attributes)
    if (!found) return null
    if (!this.tables.has(frame.instance)) {
      const reading = this.valueOf(frame, found.value).then((bytes) => (bytes.length ? lutWindow(found, bytes) : null))
      this.tables.set(frame.instance, reading.catch(() => null))
    }
    return this.tables.get(frame.instance)
  }

  /** The bytes of a value, wherever the metadata has them. */
  async valueOf(frame, { Value, InlineBinary, BulkDataURI }) {
    if (Value) return new Uint8Array(Uint16Array.from(Value).buffer)
    if (InlineBinary) return Uint8Array.from(atob(InlineBinary), (letter) => letter.charCodeAt(0))
    // Only what stands below the instance: the address may be one that only a proxy knows.
    const below = new URL(BulkDataURI, document.baseURI).pathname.split(`/instances/${frame.instance}/`)[1]
    const answer = await ask(`${DICOM}/${path(frame.study, frame.series, frame.instance)}/${below}`, { accept: 'application/octet-stream', signal: this.ended.signal })
    return new Uint8Array(await answer.arrayBuffer())
  }

  keep(key, image) {
    this.held.set(key, image)
    this.bytes += image.bytes
    for (const [old, other] of this.held) {
      if (this.bytes <= this.cap || old === key) break
      this.held.delete(old)
      this.bytes -= other.bytes
      other.bitmap?.close()
    }
    for (const listener of this.listeners) listener()
    return image
  }

  /**
   * What a viewport will want: everything around `index`, further ahead than behind.
   * @param {object} owner
   */
  want(owner, frames, index, direction) {
    if (this.streams.has(owner) && this.streams.get(owner).frames !== frames) {
      this.streams.get(owner).end.abort()
      this.streams.delete(owner)
    }
    if (!frames.length) return void this.wanted.delete(owner)
    const order = []
    for (let step = 1; step < frames.length; step += 1) {
      const ahead = index + direction * step
      const behind = index - direction * Math.ceil(step / 3)
      if (frames[ahead]) order.push(frames[ahead])
      if (step % 3 === 1 && frames[behind]) order.push(frames[behind])
    }
    const rest = new Set(frames)
    for (const frame of order) rest.delete(frame)
    this.wanted.set(owner, [...order, ...rest])
    this.stream(owner, frames)
    this.work()
  }

  /** Fetches a series in one answer where it has many frames and room; what does not come is asked for one by one. */
  stream(owner, frames) {
    if (this.streams.has(owner) || this.tried.has(frames)) return
    this.tried.add(frames)
    const missing = frames.filter((frame) => !this.has(frame)).length
    const bytes = new Map(frames.map((frame) => [frame.instance, sizeOf(frame)]))
    const total = [...bytes.values()].reduce((sum, size) => sum + size, 0)
    const fits = total <= (this.cap / Math.max(1, this.wanted.size)) * 0.8
    if (missing < MANY || missing < frames.length / 2 || bytes.size !== frames.length || !fits || Number.isNaN(total)) return
    const end = new AbortController()
    const done = this.streamed(frames, bytes, AbortSignal.any([end.signal, this.ended.signal]))
      .catch(() => {})
      .then(() => {
        if (this.streams.get(owner)?.end === end) this.streams.delete(owner)
        this.work()
      })
    this.streams.set(owner, { frames, end, done })
  }

  async streamed(frames, bytes, signal) {
    const [{ study, series }] = frames
    const places = new Map(frames.map((frame) => [frame.instance, frame]))
    const named = (head) => /\/instances\/([0-9.]+)/.exec(head)?.[1]
    const size = (head) => {
      const found = bytes.get(named(head))
      // Something was stored since the metadata was read: what is known comes one by one.
      if (found === undefined) throw new Error('unknown')
      return found
    }
    const answer = await ask(`${DICOM}/${path(study, series)}/pixeldata`, { accept: SERIES, signal, priority: 'low' })
    for await (const { head, body } of parts(answer, size)) {
      const frame = places.get(named(head))
      const lut = await this.table(frame)
      const key = Store.key(frame)
      if (signal.aborted) return
      if (this.held.has(key)) continue
      const image = samples(body, frame.attributes)
      this.keep(key, { ...image, lut, bytes: image.data.byteLength })
    }
  }

  work() {
    while (this.running < REQUESTS && !this.ended.signal.aborted) {
      const frame = this.next()
      if (!frame) return
      this.running += 1
      this.load(frame, false)
        .catch(() => this.forget(frame))
        .finally(() => {
          this.running -= 1
          this.work()
        })
    }
  }

  /** The next frame that is not here; none when no more would fit. */
  next() {
    const share = this.cap / Math.max(1, this.wanted.size)
    for (const [owner, frames] of this.wanted) {
      let planned = 0
      const each = this.each()
      for (const frame of this.streams.has(owner) ? frames.slice(0, NEAR) : frames) {
        planned += each
        if (planned > share * 0.8) break
        if (!this.has(frame) && !this.loading.has(Store.key(frame))) return frame
      }
    }
    return null
  }

  /** Bytes of a frame, as far as is known. */
  each() {
    const last = [...this.held.values()].pop()
    return last?.bytes ?? 1 << 20
  }

  /** What failed is not tried again by itself: it is when it is looked at. */
  forget(frame) {
    for (const [owner, frames] of this.wanted) this.wanted.set(owner, frames.filter((one) => one !== frame))
  }

  end() {
    this.ended.abort()
    for (const image of this.held.values()) image.bitmap?.close()
    this.held.clear()
    this.wanted.clear()
    this.bytes = 0
  }
}
