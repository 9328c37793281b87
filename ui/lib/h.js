/**
 * Elements without markup: `h('a', { href }, 'text', node)`.
 *
 * Strings become text nodes and nothing here reads markup, so a text of a study can never become an element.
 */

/**
 * @param {string} tag
 * @param {Object<string, unknown> | null} [props] attributes; `onX` functions listen, `true` is an empty attribute, `null`/`false` none
 * @param {...unknown} children nodes, texts, arrays of them; `null` and `false` are left out
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag)
  apply(element, props)
  append(element, children)
  return element
}

/** The same for SVG. */
export function svg(tag, props, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  apply(element, props)
  append(element, children)
  return element
}

function apply(element, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'value') element.value = value
    else element.setAttribute(name, value === true ? '' : String(value))
  }
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue
    element.append(child instanceof Node ? child : String(child))
  }
}

/** Puts children in the place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren()
  append(element, children)
  return element
}

/** Letters of a text from a study that are shown where it is one of many things. */
const MOST = 300

/** The beginning of a text that may be of any length. */
export const cut = (text, most = MOST) => (text.length > most ? `${text.slice(0, most)}…` : text)

/** A text from a study: isolated, so that its direction cannot reorder what stands beside it, and not endless. */
export function told(text, most = MOST) {
  return h('bdi', null, cut(text, most))
}

const PATHS = {
  upload: 'M12 16V4M7 9l5-5 5 5M4 20h16',
  download: 'M12 4v12M7 11l5 5 5-5M4 20h16',
  share: 'M18 8a3 3 0 100-6 3 3 0 000 6M6 15a3 3 0 100-6 3 3 0 000 6M18 22a3 3 0 100-6 3 3 0 000 6M8.6 10.6l6.8-4M8.6 13.4l6.8 4',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13',
  tags: 'M4 6h10M4 12h16M4 18h13',
  eye: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6',
  list: 'M4 6h16M4 12h16M4 18h16',
  gear: 'M12 8a4 4 0 100 8 4 4 0 000-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2',
  help: 'M9 9a3 3 0 115 2c-1 1-2 1-2 3M12 18v.5',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  window: 'M12 3a9 9 0 100 18 9 9 0 000-18M12 3v18',
  pan: 'M12 2v20M2 12h20M9 5l3-3 3 3M9 19l3 3 3-3M5 9l-3 3 3 3M19 9l3 3-3 3',
  zoom: 'M10 3a7 7 0 100 14 7 7 0 000-14M15 15l6 6M7 10h6M10 7v6',
  length: 'M3 17L17 3l4 4L7 21zM8 12l2 2M11 9l2 2M14 6l2 2',
  angle: 'M4 20h16M4 20L16 5M11 11a10 10 0 013 9',
  probe: 'M12 2v6M12 16v6M2 12h6M16 12h6M12 11v2M11 12h2',
  rotate: 'M20 11a8 8 0 10-2 6M20 4v7h-7',
  fliph: 'M12 3v18M9 7l-6 10h6zM15 7l6 10h-6z',
  flipv: 'M3 12h18M7 9l10-6v6zM7 15l10 6v-6z',
  invert: 'M4 4h16v16H4zM4 16L16 4M8 20L20 8M14 20l6-6',
  fit: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
  reset: 'M4 11a8 8 0 112 6M4 4v7h7',
  play: 'M7 4l13 8-13 8z',
  pause: 'M8 4v16M16 4v16',
  full: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5M9 9h6v6H9z',
  close: 'M5 5l14 14M19 5L5 19',
  cross: 'M12 2v7M12 15v7M2 12h7M15 12h7',
  cube: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5',
  link: 'M10 14a4 4 0 006 0l4-4a4 4 0 00-6-6l-1 1M14 10a4 4 0 00-6 0l-4 4a4 4 0 006 6l1-1',
  camera: 'M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 100 7 3.5 3.5 0 000-7',
  left: 'M15 5l-7 7 7 7',
  right: 'M9 5l7 7-7 7',
  scroll: 'M5 5h14v10H5zM8 18h11M11 21h8',
}

/** A picture of 24 × 24 beside a text; it has no name of its own. */
export function icon(name) {
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' }, svg('path', { d: PATHS[name] }))
}
