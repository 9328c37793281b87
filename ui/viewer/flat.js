/** Draws without a graphics card: a table from sample to shade, then the browser's own drawing. */

import { shade } from '../dicom/window.js'

/** A painter with a canvas of its own. */
export function makePainter() {
  const canvas = document.createElement('canvas')
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true })
  const sheet = document.createElement('canvas')
  const drawing = sheet.getContext('2d', { willReadFrequently: true })
  let shown = ''
  let held = null

  function table(data, look) {
    const low = data instanceof Int16Array ? -32768 : data instanceof Int8Array ? -128 : 0
    const count = data.BYTES_PER_ELEMENT === 2 ? 65536 : 256
    const shades = new Uint8Array(count)
    const shaded = shader(look)
    for (let at = 0; at < count; at += 1) shades[at] = shaded(at + low)
    return { shades, low }
  }

  /** From a stored value to its shade. */
  function shader({ slope, intercept, window, inverted, padding }) {
    const [none, most] = padding ?? [Infinity, -Infinity]
    return (stored) => {
      if (stored >= none && stored <= most) return 0
      const value = shade(stored * slope + intercept, window)
      return Math.round(255 * (inverted ? 1 - value : value))
    }
  }

  function paint(image, look) {
    const { slope, intercept, inverted, window, padding } = look
    const { lut, ...plain } = window
    const key = JSON.stringify([slope, intercept, inverted, plain, lut?.first, lut?.data.length, padding])
    if (held === image && shown === key) return
    ;[held, shown] = [image, key]
    sheet.width = image.columns
    sheet.height = image.rows
    if (image.bitmap) {
      drawing.filter = inverted ? 'invert(1)' : 'none'
      drawing.drawImage(image.bitmap, 0, 0)
      return
    }
    const picture = drawing.createImageData(image.columns, image.rows)
    const out = picture.data
    const { data } = image
    if (image.kind === 'rgb') {
      for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
        for (let part = 0; part < 3; part += 1) out[to + part] = inverted ? 255 - data[from + part] : data[from + part]
        out[to + 3] = 255
      }
    } else {
      // A table pays where there are few values that a sample can have.
      const { shades, low } = data.BYTES_PER_ELEMENT <= 2 ? table(data, look) : { shades: null, low: 0 }
      const shaded = shader(look)
      for (let from = 0, to = 0; from < data.length; from += 1, to += 4) {
        const value = shades ? shades[data[from] - low] : shaded(data[from])
        out[to] = value
        out[to + 1] = value
        out[to + 2] = value
        out[to + 3] = 255
      }
    }
    drawing.putImageData(picture, 0, 0)
  }

  return {
    name: 'Canvas 2D',
    canvas,
    onrestored: null,
    isSlow: false,
    largest: 16_384,
    warm() {},
    draw(image, way, look) {
      paint(image, look)
      context.setTransform(1, 0, 0, 1, 0, 0)
      context.fillStyle = '#000'
      context.fillRect(0, 0, canvas.width, canvas.height)
      context.setTransform(...way)
      context.imageSmoothingEnabled = look.smoothed
      context.drawImage(sheet, 0, 0)
    },
    read: () => new Uint8Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer),
    end() {
      canvas.remove()
    },
  }
}
