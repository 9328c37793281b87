/**
 * Keys: a table for what is shown, told by `?`.
 *
 * Single letters work only where the focus is in the part they belong to, never while somebody types.
 */

import { h } from './h.js'
import { t } from './i18n.js'
import { dialog } from './dialog.js'

const tables = new Map()

/** @typedef {{ keys: string[], text: string, run: (event: KeyboardEvent) => void }} Key */

/**
 * Adds the keys of a part; they work while the focus is inside of `element`. Returns what takes them away.
 * @param {string} title
 * @param {HTMLElement} element
 * @param {Key[]} rows
 */
export function useKeys(title, element, rows) {
  const id = Symbol(title)
  tables.set(id, { title, rows })
  const onkey = (event) => {
    if (isTyping(event.target)) return
    const row = rows.find((row) => row.keys.includes(named(event)))
    if (!row) return
    event.preventDefault()
    event.stopPropagation()
    row.run(event)
  }
  element.addEventListener('keydown', onkey)
  return () => {
    tables.delete(id)
    element.removeEventListener('keydown', onkey)
  }
}

/** `Shift+ArrowUp`, `r`, `?`, ` `. */
function named(event) {
  const held = [event.ctrlKey && 'Ctrl', event.altKey && 'Alt', event.metaKey && 'Meta']
  const arrow = event.key.length > 1 && event.shiftKey && 'Shift'
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  return [...held, arrow, key].filter(Boolean).join('+')
}

function isTyping(target) {
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type)
}

let isOpen = false

/** Opens the list of keys. */
export async function showKeys() {
  if (isOpen) return
  isOpen = true
  const parts = [...tables.values()].map(({ title, rows }) => [
    h('h3', null, title),
    h('table', { class: 'keys' }, h('tbody', null, rows.map((row) => h('tr', null, h('th', { scope: 'row' }, row.keys.map((key) => [h('kbd', null, shown(key)), ' '])), h('td', null, row.text))))),
  ])
  await dialog(t('keys'), () => h('div', null, parts), true)
  isOpen = false
}

const SHOWN = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', ' ': '␣', PageUp: 'PgUp', PageDown: 'PgDn', Shift: '⇧' }

function shown(key) {
  const parts = key === '+' ? ['+'] : key.split('+').filter(Boolean)
  return parts.map((part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(' ')
}
