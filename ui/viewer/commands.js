/** Keys of the viewer: everything that the pointer does, too. */

import { t } from '../lib/i18n.js'
import { announce } from '../lib/dialog.js'
import { marksOf, probeText, removeLast, setPoint } from './measure.js'
import { TOOLS, changeWindow } from './tools.js'

/** Keys of the tools, in their order. */
const LETTERS = ['w', 's', 'p', 'z', 'b', 'l', 'a', 'c']
const MEASURES = ['probe', 'length', 'angle']

/**
 * @param {{ viewport: () => import('./viewport.js').Viewport | null, tool: () => string, choose: (name: string) => void, cine: () => void, full: () => void, link: () => void, mpr: () => void, snapshot: () => void, presets: () => object[] }} of
 * @returns {import('../lib/keys.js').Key[]}
 */
export function viewerKeys(of) {
  const on = (run) => (event) => {
    const one = of.viewport()
    if (one) run(one, event)
  }
  const key = (keys, text, run) => ({ keys: [keys].flat(), text: t(text), run: on(run) })
  const measuring = () => MEASURES.includes(of.tool())
  /** Arrows move the cross of a measurement, else they go through the slices. */
  const arrow = (x, y) => (one) => {
    if (measuring()) moveCursor(one, x, y)
    else if (y) one.goTo(one.index + y)
    else one.goTo(one.index + x)
  }
  const window = (dx, dy) => (one) => changeWindow(one, dx, dy)
  const pan = (x, y) => (one) => one.panBy(x * 40, y * 40)
  return [
    key(['ArrowDown', 'ArrowRight'], 'key.next', (one, event) => arrow(...(event.key === 'ArrowDown' ? [0, 1] : [1, 0]))(one)),
    key(['ArrowUp', 'ArrowLeft'], 'key.previous', (one, event) => arrow(...(event.key === 'ArrowUp' ? [0, -1] : [-1, 0]))(one)),
    key('PageDown', 'key.forward', (one) => one.goTo(one.index + (measuring() ? 1 : 10))),
    key('PageUp', 'key.back', (one) => one.goTo(one.index - (measuring() ? 1 : 10))),
    key('Home', 'key.first', (one) => one.goTo(0)),
    key('End', 'key.last', (one) => one.goTo(one.frames.length - 1)),
    key(['Shift+ArrowRight', 'Shift+ArrowLeft'], 'key.width', (one, event) => window(event.key === 'ArrowRight' ? 8 : -8, 0)(one)),
    key(['Shift+ArrowDown', 'Shift+ArrowUp'], 'key.center', (one, event) => window(0, event.key === 'ArrowDown' ? 8 : -8)(one)),
    key(['1', '2', '3', '4', '5', '6', '7', '8', '9'], 'key.preset', (one, event) => {
      const window = of.presets()[Number(event.key) - 1]
      if (window) one.setWindow(window)
    }),
    key(['+', '='], 'key.larger', (one) => one.zoomBy(1.25)),
    key('-', 'key.smaller', (one) => one.zoomBy(0.8)),
    key(['Ctrl+ArrowLeft', 'Ctrl+ArrowRight', 'Ctrl+ArrowUp', 'Ctrl+ArrowDown'], 'key.pan', (one, event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
      pan(...way)(one)
    }),
    key('f', 'viewer.fit', (one) => one.fit()),
    key('o', 'key.actual', (one) => one.actual()),
    key('r', 'viewer.rotate', (one) => one.turn()),
    key('h', 'viewer.fliph', (one) => one.mirror(true)),
    key('v', 'viewer.flipv', (one) => one.mirror(false)),
    key('i', 'viewer.invert', (one) => one.invert()),
    key('0', 'viewer.reset', (one) => one.reset()),
    key(' ', 'viewer.cine', () => of.cine()),
    ...TOOLS.map((name, index) => key(LETTERS[index], `tool.${name}`, () => of.choose(name))),
    key('Enter', 'key.point', (one) => {
      if (!measuring()) return
      const point = one.cursor ?? centre(one)
      const done = setPoint(one, of.tool(), { ...point })
      if (done) announce(probeText(one, point))
    }),
    key(['Backspace', 'Delete'], 'key.remove', (one) => marksOf(one).length && removeLast(one)),
    key('u', 'viewer.full', () => of.full()),
    key('k', 'viewer.link', () => of.link()),
    key('m', 'viewer.mpr', () => of.mpr()),
    key('x', 'viewer.snapshot', () => of.snapshot()),
  ]
}

const centre = (one) => ({ x: one.image.columns / 2, y: one.image.rows / 2 })

function moveCursor(one, x, y) {
  if (!one.image) return
  const from = one.cursor ?? centre(one)
  const step = Math.max(1, Math.round(4 / one.place.zoom))
  one.cursor = { x: Math.min(one.image.columns - 0.5, Math.max(0.5, from.x + x * step)), y: Math.min(one.image.rows - 0.5, Math.max(0.5, from.y + y * step)) }
  announce(probeText(one, one.cursor))
  one.paint()
}
