/** What stands over the picture: corner texts, letters of orientation, a scale, measurements. */

import { t } from '../lib/i18n.js'
import { date } from '../lib/format.js'
import { number, text } from '../dicom/json.js'
import { opposite, orientation, spacing } from '../dicom/geometry.js'
import { isLossy } from '../dicom/pixels.js'
import { marksOf, markText } from './measure.js'

/** Lines of the corners: top left, top right, bottom left, bottom right. @param {import('./viewport.js').Viewport} viewport */
export function corners(viewport) {
  const { about, frame } = viewport
  if (!frame) return [[], [], [], []]
  const { attributes } = frame
  const size = viewport.image ? `${viewport.image.columns} × ${viewport.image.rows}` : ''
  const place = number(attributes, '00201041')
  const thick = number(attributes, '00180050')
  const { window } = viewport
  const rounded = (value) => (Math.abs(value) >= 10 ? Math.round(value) : Math.round(value * 100) / 100)
  const zoom = Math.round((viewport.place.zoom / (devicePixelRatio || 1)) * 100)
  return [
    [about?.patient, [about?.id, about?.born, about?.sex].filter(Boolean).join(' · ')],
    [about?.study, date(text(attributes, '00080020')), about?.title],
    [
      t('viewer.position', { index: viewport.index + 1, all: viewport.frames.length }),
      place === undefined ? '' : t('viewer.location', { mm: place.toFixed(1) }),
      thick === undefined ? '' : t('viewer.thickness', { mm: String(thick) }),
    ],
    [
      viewport.hasWindow && window ? window.shape === 'LUT' ? `VOI LUT ${window.name ?? ''}` : `W ${rounded(window.width)} · L ${rounded(window.center)}` : viewport.image?.isPreview ? t('viewer.preview') : viewport.image?.kind === 'picture' ? t('viewer.rendered') : '',
      `${size} · ${zoom} %`,
      isLossy(attributes) ? t('viewer.lossy') : '',
      t('viewer.notfordiagnosis'),
    ],
  ]
}

const ROUND = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]

/** @param {import('./viewport.js').Viewport} viewport */
export function drawOver(viewport) {
  const { over } = viewport
  const pen = over.getContext('2d')
  const scale = devicePixelRatio || 1
  pen.clearRect(0, 0, over.width, over.height)
  pen.font = `${Math.round(13 * scale)}px system-ui, sans-serif`
  pen.lineWidth = 1.5 * scale
  const { attributes } = viewport.shown
  drawLetters(pen, viewport, attributes, scale)
  drawScale(pen, viewport, attributes, scale)
  if (viewport.cross) drawCross(pen, viewport, scale)
  for (const mark of marksOf(viewport)) drawMark(pen, viewport, mark, scale)
  if (viewport.cursor) drawCursor(pen, viewport, scale)
}

/** Writes a text that can be read on light and dark. */
function write(pen, words, x, y, colour = '#ffe9a8') {
  pen.strokeStyle = 'rgb(0 0 0 / 0.85)'
  pen.lineJoin = 'round'
  const width = pen.lineWidth
  pen.lineWidth = width * 2.5
  pen.strokeText(words, x, y)
  pen.lineWidth = width
  pen.fillStyle = colour
  pen.fillText(words, x, y)
}

function drawLetters(pen, viewport, attributes, scale) {
  const [row, column] = orientation(attributes)
  if (!row && !column) return
  const [a, b, c, d] = viewport.way
  // Where the image's directions point on the screen, after turns and mirrors.
  const sides = { right: '', down: '' }
  if (Math.abs(a) > Math.abs(b)) {
    sides.right = a > 0 ? row : opposite(row)
    sides.down = d > 0 ? column : opposite(column)
  } else {
    sides.down = b > 0 ? row : opposite(row)
    sides.right = c > 0 ? column : opposite(column)
  }
  const { width, height } = pen.canvas
  pen.textBaseline = 'middle'
  pen.textAlign = 'center'
  const edge = 14 * scale
  for (const [letter, x, y] of [[sides.right, width - edge, height / 2], [opposite(sides.right), edge, height / 2], [sides.down, width / 2, height - edge], [opposite(sides.down), width / 2, edge]]) if (letter) write(pen, letter, x, y)
}

function drawScale(pen, viewport, attributes, scale) {
  const found = spacing(attributes)
  if (!found) return
  const perMillimetre = viewport.place.zoom / found.column
  const length = ROUND.findLast((mm) => mm * perMillimetre < 160 * scale)
  if (!length) return
  const [x, y, size] = [pen.canvas.width / 2 - (length * perMillimetre) / 2, pen.canvas.height - 34 * scale, length * perMillimetre]
  line(pen, [{ x, y: y - 4 * scale }, { x, y }, { x: x + size, y }, { x: x + size, y: y - 4 * scale }], scale)
  pen.textAlign = 'center'
  pen.textBaseline = 'bottom'
  write(pen, `${length >= 10 ? `${length / 10} cm` : `${length} mm`}${found.detector ? ` ${t('viewer.detector')}` : ''}`, x + size / 2, y - 3 * scale)
}

function line(pen, points, scale, colour = '#ffe9a8') {
  for (const [width, style] of [[3.5 * scale, 'rgb(0 0 0 / 0.7)'], [1.5 * scale, colour]]) {
    pen.lineWidth = width
    pen.strokeStyle = style
    pen.beginPath()
    for (const [index, { x, y }] of points.entries()) index ? pen.lineTo(x, y) : pen.moveTo(x, y)
    pen.stroke()
  }
  pen.lineWidth = 1.5 * scale
}

function drawMark(pen, viewport, mark, scale) {
  const points = mark.points.map((point) => viewport.toCanvas(point))
  if (mark.kind === 'probe') {
    const [{ x, y }] = points
    const arm = 6 * scale
    line(pen, [{ x: x - arm, y }, { x: x + arm, y }], scale, '#8fe3ff')
    line(pen, [{ x, y: y - arm }, { x, y: y + arm }], scale, '#8fe3ff')
  } else line(pen, points, scale, '#8fe3ff')
  const last = points[points.length - 1]
  pen.textAlign = 'left'
  pen.textBaseline = 'top'
  const words = markText(viewport, mark)
  if (words) write(pen, words, last.x + 8 * scale, last.y + 6 * scale, '#8fe3ff')
}

/** Two lines through the picture, open where they meet. */
function drawCross(pen, viewport, scale) {
  const { x, y } = viewport.toCanvas(viewport.cross())
  const gap = 12 * scale
  const { width, height } = pen.canvas
  pen.lineWidth = scale
  pen.strokeStyle = '#8fe3ff'
  pen.beginPath()
  for (const [x1, y1, x2, y2] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
    pen.moveTo(x1, y1)
    pen.lineTo(x2, y2)
  }
  pen.stroke()
  pen.lineWidth = 1.5 * scale
}

function drawCursor(pen, viewport, scale) {
  const { x, y } = viewport.toCanvas(viewport.cursor)
  const arm = 12 * scale
  line(pen, [{ x: x - arm, y }, { x: x + arm, y }], scale, '#ffffff')
  line(pen, [{ x, y: y - arm }, { x, y: y + arm }], scale, '#ffffff')
}
