/** Measurements of a frame, for as long as the series is shown: values, lengths, angles. Points are pixels of the image. */

import { t } from '../lib/i18n.js'
import { spacing } from '../dicom/geometry.js'
import { Store } from './store.js'

/** Points that a kind has. */
const POINTS = { probe: 1, length: 2, angle: 3 }

/** @typedef {{ kind: 'probe' | 'length' | 'angle', points: { x: number, y: number }[] }} Mark */

/** The measurements of the frame that is shown. @returns {Mark[]} */
export function marksOf(viewport) {
  return viewport.shown ? (viewport.marks.get(Store.key(viewport.shown)) ?? []) : []
}

/** Begins a measurement, or sets the next point of the one that lacks some. Returns whether it is finished. */
export function setPoint(viewport, kind, point) {
  if (!viewport.shown) return true
  const marks = [...marksOf(viewport)]
  const open = marks.at(-1)
  if (open && open.kind === kind && open.points.length < POINTS[kind]) open.points.push(point)
  else marks.push({ kind, points: [point] })
  viewport.marks.set(Store.key(viewport.shown), marks)
  viewport.paint()
  return marks.at(-1).points.length === POINTS[kind]
}

/** Moves the last point that was set. */
export function movePoint(viewport, point) {
  const open = marksOf(viewport).at(-1)
  if (!open) return
  open.points[open.points.length - 1] = point
  viewport.paint()
}

/** Takes the last measurement of the frame away. */
export function removeLast(viewport) {
  if (!viewport.shown) return
  viewport.marks.set(Store.key(viewport.shown), marksOf(viewport).slice(0, -1))
  viewport.paint()
}

/** What a measurement says. @param {Mark} mark */
export function markText(viewport, mark) {
  if (mark.points.length < POINTS[mark.kind]) return ''
  if (mark.kind === 'probe') return probeText(viewport, mark.points[0])
  const found = spacing(viewport.shown.attributes)
  const [column, row] = found ? [found.column, found.row] : [1, 1]
  const away = (a, b) => [(b.x - a.x) * column, (b.y - a.y) * row]
  if (mark.kind === 'length') {
    const length = Math.hypot(...away(mark.points[0], mark.points[1]))
    const unit = found ? `mm${found.detector ? ` ${t('viewer.detector')}` : ''}` : 'px'
    return `${length.toFixed(1)} ${unit}`
  }
  const [a, corner, b] = mark.points
  const [[ax, ay], [bx, by]] = [away(corner, a), away(corner, b)]
  const angle = Math.abs(Math.atan2(ax * by - ay * bx, ax * bx + ay * by))
  return `${((angle * 180) / Math.PI).toFixed(1)}°`
}

/** The value below a point, with its unit. */
export function probeText(viewport, point) {
  const found = viewport.valueAt(point)
  if (!found) return ''
  const value = found.colour ? found.colour.join(' ') : `${Math.round(found.value * 1000) / 1000} ${found.unit}`.trim()
  return `${value}  (${found.column + 1}, ${found.row + 1})`
}
