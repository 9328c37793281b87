/** Pointer and wheel on a viewport: the chosen tool by the left button, zoom by the right, moving by the middle. */

import { marksOf, movePoint, setPoint } from './measure.js'

/** The tools, in the order of their buttons. */
export const TOOLS = ['window', 'scroll', 'pan', 'zoom', 'probe', 'length', 'angle', 'cross']
/** Turn of the wheel in pixels for one slice. */
const NOTCH = 40

/**
 * @param {import('./viewport.js').Viewport} viewport
 * @param {() => string} tool the chosen one
 */
export function usePointer(viewport, tool) {
  const { stage } = viewport
  const held = new Map()
  let turned = 0
  let carry = 0
  let pinch = null

  const at = (event) => {
    const box = stage.getBoundingClientRect()
    const scale = viewport.canvas.width / box.width
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale }
  }

  stage.addEventListener('contextmenu', (event) => event.preventDefault())
  stage.addEventListener('pointerdown', (event) => {
    viewport.element.focus({ preventScroll: true })
    stage.setPointerCapture(event.pointerId)
    const point = at(event)
    const by = event.pointerType === 'mouse' ? { 0: tool(), 1: 'pan', 2: 'zoom' }[event.button] : tool()
    held.set(event.pointerId, { point, by })
    if (held.size === 2) {
      pinch = between([...held.values()])
      return
    }
    if (held.size > 1) return
    carry = 0
    if (by === 'cross') return void viewport.oncross?.(viewport.toImage(point))
    if (by === 'probe' || by === 'length' || by === 'angle') {
      const place = viewport.toImage(point)
      // A length is drawn by one drag; an angle by a drag and a click.
      if (!setPoint(viewport, by, place) && marksOf(viewport).at(-1)?.points.length === 1) setPoint(viewport, by, place)
    }
  })

  stage.addEventListener('pointermove', (event) => {
    const before = held.get(event.pointerId)
    if (!before) return
    const point = at(event)
    const [dx, dy] = [point.x - before.point.x, point.y - before.point.y]
    held.set(event.pointerId, { ...before, point })
    if (held.size === 2 && pinch) {
      const now = between([...held.values()])
      viewport.panBy(now.x - pinch.x, now.y - pinch.y)
      if (pinch.apart > 0) viewport.zoomBy(now.apart / pinch.apart, now)
      pinch = now
      return
    }
    if (held.size > 1) return
    drag(before.by, dx, dy, point)
  })

  function drag(by, dx, dy, point) {
    const scale = devicePixelRatio || 1
    if (by === 'window') changeWindow(viewport, dx / scale, dy / scale)
    else if (by === 'pan') viewport.panBy(dx, dy)
    else if (by === 'cross') viewport.oncross?.(viewport.toImage(point))
    else if (by === 'zoom') viewport.zoomBy(Math.exp(-dy / scale / 150))
    else if (by === 'scroll') {
      carry += dy / scale
      const step = Math.max(3, Math.min(24, stage.clientHeight / Math.max(1, viewport.frames.length)))
      const slices = Math.trunc(carry / step)
      carry -= slices * step
      if (slices) viewport.goTo(viewport.index + slices)
    } else if (by) movePoint(viewport, viewport.toImage(point))
  }

  const up = (event) => {
    held.delete(event.pointerId)
    pinch = null
  }
  stage.addEventListener('pointerup', up)
  stage.addEventListener('pointercancel', up)

  stage.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault()
      const lines = event.deltaMode === 1 ? event.deltaY * NOTCH : event.deltaY
      if (event.ctrlKey) return viewport.zoomBy(Math.exp(-lines / 300), at(event))
      if (Math.sign(lines) !== Math.sign(turned)) turned = 0
      turned += lines
      const slices = Math.trunc(turned / NOTCH) || (event.deltaMode === 1 || Math.abs(lines) >= 30 ? Math.sign(lines) : 0)
      if (!slices) return
      turned = 0
      viewport.goTo(viewport.index + Math.sign(slices) * Math.min(3, Math.abs(slices)))
    },
    { passive: false },
  )
}

/** Wider to the right, brighter downwards; faster where the window is wide. */
export function changeWindow(viewport, dx, dy) {
  if (!viewport.hasWindow || !viewport.window) return
  const { center, width } = viewport.window
  // A table has no width: moving it goes on with a ramp over its values.
  const shape = viewport.window.shape === 'LUT' ? 'LINEAR' : viewport.window.shape
  const pace = Math.max(width, 1) / 256
  viewport.setWindow({ shape, width: width + dx * pace, center: center + dy * pace })
}

function between([a, b]) {
  return { x: (a.point.x + b.point.x) / 2, y: (a.point.y + b.point.y) / 2, apart: Math.hypot(a.point.x - b.point.x, a.point.y - b.point.y) }
}
