/** One picture on the screen: which frame, how it lies, which window; corner texts and what is drawn over it. */

import { cut, fill, h, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { aspect } from '../dicom/geometry.js'
import { text } from '../dicom/json.js'
import { kindOf, padding, rescale } from '../dicom/pixels.js'
import { fullWindow, ownWindows } from '../dicom/window.js'
import { makePainter } from './flat.js'
import { takePainter } from './gl.js'
import { along, fitting, forward, fresh, inverse } from './place.js'
import { corners, drawOver } from './overlay.js'

/** Milliseconds between two pictures that follow each other. */
const HURRY = 200

export class Viewport {
  /** @param {import('./store.js').Store} store @param {(viewport: Viewport) => void} changed */
  constructor(store, changed) {
    this.store = store
    this.changed = changed
    this.painter = takePainter() ?? makePainter()
    this.painter.onrestored = () => this.paint()
    this.canvas = this.painter.canvas
    this.canvas.setAttribute('aria-hidden', 'true')
    this.over = h('canvas', { class: 'over', 'aria-hidden': 'true' })
    this.corners = ['tl', 'tr', 'bl', 'br'].map((name) => h('div', { class: `corner ${name}` }))
    this.note = h('p', { class: 'note', role: 'status' })
    this.slider = h('input', { type: 'range', min: '1', max: '1', value: '1', class: 'slices', 'aria-label': t('viewer.slice'), oninput: () => this.goTo(Number(this.slider.value) - 1) })
    this.stage = h('div', { class: 'stage' }, this.canvas, this.over, this.corners, this.note)
    this.element = h('div', { class: 'viewport', tabindex: '0', role: 'group', 'aria-roledescription': t('viewer.viewport') }, this.stage, this.slider)
    this.element.viewport = this
    this.frames = []
    this.index = 0
    this.image = null
    this.shown = null
    this.place = fresh()
    this.isFitted = true
    this.window = null
    this.chosen = false
    this.inverted = false
    this.smoothed = true
    this.marks = new Map()
    this.cursor = null
    /** Where a cross stands, for what shows several planes; and who is told where it shall stand. */
    this.cross = null
    this.oncross = null
    this.pending = false
    this.hurries = false
    this.last = 0
    this.settling = 0
    this.size = new ResizeObserver(() => this.resize())
    this.size.observe(this.stage)
  }

  get frame() {
    return this.frames[this.index]
  }

  /** Shows a series from its middle slice on; `about` is what the corners tell of study and series. */
  async show(frames, about) {
    this.frames = frames
    this.about = about
    this.window = null
    this.chosen = false
    this.inverted = false
    this.place = fresh()
    this.isFitted = true
    this.marks = new Map()
    this.shown = null
    this.image = null
    this.slider.max = String(Math.max(1, frames.length))
    this.slider.hidden = frames.length < 2
    this.index = -1
    await this.goTo(Math.floor((frames.length - 1) / 2))
  }

  /** Goes to a frame; the promise ends when it, or a later one, is on the screen. */
  async goTo(index) {
    const next = Math.max(0, Math.min(this.frames.length - 1, index))
    if (next === this.index || !this.frames.length) return
    const direction = next >= this.index ? 1 : -1
    this.index = next
    this.slider.value = String(next + 1)
    const { frame } = this
    const there = this.store.peek(frame)
    if (there) this.take(frame, there)
    else {
      this.stage.classList.add('waiting')
      this.tell()
      try {
        const loading = this.store.load(frame)
        this.preview(frame, loading)
        const image = await loading
        if (this.frame === frame) this.take(frame, image)
      } catch (error) {
        if (error.name === 'AbortError' || this.frame !== frame) return
        this.image = null
        this.stage.classList.remove('waiting')
        fill(this.note, error.message === 'short' ? t('viewer.short') : error.message)
        this.paint()
      }
    }
    this.store.want(this, this.frames, this.index, direction)
  }

  /** Shows a small picture where samples take long; a preview that comes too late is not shown. */
  async preview(frame, loading) {
    const window = this.chosen ? this.window : null
    const wish = { frame, width: this.canvas.width, height: this.canvas.height, window }
    const image = await this.store.preview(wish, loading).catch(() => null)
    if (!image) return
    if (this.frame === frame && this.shown !== frame) this.take(frame, image)
    else image.bitmap.close()
  }

  take(frame, image) {
    if (this.image?.isPreview) this.image.bitmap.close()
    this.image = image
    this.shown = frame
    this.stage.classList.toggle('waiting', image.isPreview === true)
    this.stage.classList.toggle('preview', image.isPreview === true)
    fill(this.note, Math.max(image.rows, image.columns) > this.painter.largest ? t('viewer.large') : '')
    if (!this.chosen) this.window = this.ownWindow()
    if (this.isFitted) this.fit()
    this.paint()
  }

  /** The window the image asks for, else all its values. */
  ownWindow() {
    if (this.image?.isPreview && this.window) return this.window
    if (this.image?.kind !== 'gray') return { center: 128, width: 256, shape: 'LINEAR' }
    const [own] = ownWindows(this.shown.attributes)
    return own ?? this.image.lut ?? fullWindow(this.image.data, this.shown.attributes)
  }

  /** Whether the window can be changed here. */
  get hasWindow() {
    return this.image?.kind === 'gray'
  }

  setWindow(window) {
    if (!this.hasWindow) return
    this.window = { ...window, width: Math.max(window.width, window.shape === 'LINEAR' ? 1 : 0.001) }
    this.chosen = true
    this.paint()
  }

  get scene() {
    const { columns, rows } = this.image ?? { columns: 1, rows: 1 }
    return { columns, rows, aspect: this.shown ? aspect(this.shown.attributes) : 1 }
  }

  get way() {
    return forward(this.place, this.scene, this.canvas)
  }

  /** The pixel of the image below a pixel of the canvas. */
  toImage(point) {
    return along(inverse(this.way), point)
  }

  toCanvas(point) {
    return along(this.way, point)
  }

  fit() {
    this.isFitted = true
    this.place = { ...this.place, x: 0, y: 0, zoom: fitting(this.place, this.scene, this.canvas) }
    this.paint()
  }

  /** Zooms about a point of the canvas; the centre when there is none. */
  zoomBy(factor, about = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    const zoom = Math.min(64, Math.max(0.01, this.place.zoom * factor))
    const by = zoom / this.place.zoom
    const [dx, dy] = [about.x - this.canvas.width / 2, about.y - this.canvas.height / 2]
    this.place = { ...this.place, zoom, x: dx + (this.place.x - dx) * by, y: dy + (this.place.y - dy) * by }
    this.isFitted = false
    this.paint()
  }

  panBy(x, y) {
    this.place = { ...this.place, x: this.place.x + x, y: this.place.y + y }
    this.isFitted = false
    this.paint()
  }

  /** A pixel of the image for each of the screen. */
  actual() {
    this.place = { ...this.place, zoom: 1, x: 0, y: 0 }
    this.isFitted = false
    this.paint()
  }

  turn() {
    this.place = { ...this.place, turns: (this.place.turns + 1) % 4 }
    if (this.isFitted) this.fit()
    else this.paint()
  }

  /** Mirrors as it is seen, whatever the turns. */
  mirror(sideways) {
    const name = (this.place.turns % 2 === 0) === sideways ? 'flipX' : 'flipY'
    this.place = { ...this.place, [name]: !this.place[name] }
    this.paint()
  }

  invert() {
    this.inverted = !this.inverted
    this.paint()
  }

  reset() {
    this.place = fresh()
    this.inverted = false
    this.chosen = false
    this.window = this.image ? this.ownWindow() : null
    this.fit()
  }

  /** Stored and real value of a pixel; `null` outside, or where the server rendered the picture. */
  valueAt({ x, y }) {
    const [column, row] = [Math.floor(x), Math.floor(y)]
    const { image } = this
    if (!image?.data || column < 0 || row < 0 || column >= image.columns || row >= image.rows) return null
    const at = row * image.columns + column
    if (image.kind === 'rgb') return { column, row, colour: [...image.data.subarray(at * 3, at * 3 + 3)] }
    const { slope, intercept, unit } = rescale(this.shown.attributes)
    return { column, row, value: image.data[at] * slope + intercept, unit }
  }

  resize() {
    const scale = devicePixelRatio || 1
    const { width, height } = this.stage.getBoundingClientRect()
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.max(1, Math.round(width * scale))
      canvas.height = Math.max(1, Math.round(height * scale))
    }
    if (this.isFitted) this.fit()
    else this.paint()
  }

  /** Paints with the next picture of the screen; several changes are painted once. */
  paint() {
    if (this.pending) return
    this.pending = true
    // Without a card, pictures that follow each other are drawn without mixing; the last one is drawn well.
    const now = performance.now()
    this.hurries = this.painter.isSlow && now - this.last < HURRY
    this.last = now
    clearTimeout(this.settling)
    if (this.hurries) this.settling = setTimeout(() => this.paint(), HURRY)
    requestAnimationFrame(() => {
      this.pending = false
      this.draw()
      this.tell()
    })
  }

  draw() {
    if (!this.image) {
      this.over.getContext('2d').clearRect(0, 0, this.over.width, this.over.height)
      return
    }
    this.painter.draw(this.image, this.way, this.look)
    drawOver(this)
    this.drawn = (this.drawn ?? 0) + 1
    if (this.drawn === 1) performance.mark('stowage.image')
  }

  /** Tells the corners, and in words what is seen. */
  tell() {
    const texts = corners(this)
    for (const [index, lines] of texts.entries()) fill(this.corners[index], lines.filter(Boolean).map((line) => h('div', null, told(line, 120))))
    const window = this.hasWindow && this.window ? t('viewer.window', { center: Math.round(this.window.center), width: Math.round(this.window.width) }) : ''
    const words = [cut(this.about?.title ?? ''), t('viewer.position', { index: this.index + 1, all: this.frames.length }), window].filter(Boolean).join(', ')
    this.element.setAttribute('aria-label', words)
    this.slider.setAttribute('aria-valuetext', t('viewer.position', { index: this.index + 1, all: this.frames.length }))
    this.changed(this)
  }

  /** The kind of what is shown. */
  get kind() {
    return this.frame ? kindOf(this.frame.attributes) : 'none'
  }

  /** How samples become shades. */
  get look() {
    const { slope, intercept } = rescale(this.shown.attributes)
    const isWhiteFirst = this.image.kind === 'gray' && text(this.shown.attributes, '00280004') === 'MONOCHROME1'
    const none = this.image.kind === 'gray' ? padding(this.shown.attributes) : null
    return { slope, intercept, padding: none, window: this.window, inverted: this.inverted !== isWhiteFirst, smoothed: this.smoothed && !this.hurries }
  }

  /** The image alone, a pixel for a pixel, RGBA from the top. */
  pixels() {
    const { width, height } = this.canvas
    this.canvas.width = this.image.columns
    this.canvas.height = this.image.rows
    this.painter.draw(this.image, [1, 0, 0, 1, 0, 0], { ...this.look, smoothed: false })
    const read = this.painter.read()
    this.canvas.width = width
    this.canvas.height = height
    this.draw()
    return read
  }

  end() {
    clearTimeout(this.settling)
    this.size.disconnect()
    this.store.want(this, [], 0, 1)
    this.element.remove()
    this.painter.end()
  }
}
