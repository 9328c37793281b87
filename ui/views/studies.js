/** The list of studies: filters that stand in the address, pages by the server's links, new arrivals. */

import { fill, h, icon } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { dicomDate } from '../lib/format.js'
import { announce, failed } from '../lib/dialog.js'
import { useKeys } from '../lib/keys.js'
import { go, note, to } from '../lib/router.js'
import { text } from '../dicom/json.js'
import { FILTERS, SORTED, count, newestChange, studies } from '../net/qido.js'
import { me } from '../net/api.js'
import { chooseColumns, chosenColumns } from './columns.js'
import { selection } from './selection.js'

/** Milliseconds after the last letter before it is searched. */
const PAUSE = 150
/** Milliseconds between two looks for new arrivals. */
const LOOK = 5_000
const MODALITIES = ['CT', 'MR', 'CR', 'DX', 'MG', 'US', 'XA', 'RF', 'NM', 'PT', 'SC', 'OT', 'SR', 'ECG']

/** Shows the screen. */
export function show(root, { query }) {
  const leaving = new AbortController()
  let running = null
  let timer = 0
  let first = true
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? '']))
  let cursor = query.get('cursor')
  let order = orderOf(query.get('order'))

  const body = h('tbody')
  const heads = h('tr')
  const chosen = selection(() => search(cursor))
  let columns = chosenColumns()
  let rows = []
  const table = h(
    'table',
    { class: 'studies' },
    h('caption', { class: 'hidden' }, t('studies.caption')),
    h('thead', null, heads),
    body,
  )
  /** The same as a choice, where there are no heads: on narrow screens. */
  const sorting = h(
    'select',
    {
      'aria-label': t('studies.sort'),
      class: 'narrow-only',
      onchange: () => {
        order = sorting.value
        search(null, true)
      },
    },
    h('option', { value: '' }, t('studies.sort.arrival')),
    SORTED.flatMap((name) => [['', 'up'], ['-', 'down']].map(([sign, way]) => h('option', { value: sign + name }, t(`studies.sort.${way}`, { column: t(`field.${name}`) })))),
  )

  const state = h('p', { class: 'state', role: 'status' })
  const total = h('button', { type: 'button', class: 'quiet', onclick: counted }, t('studies.count'))
  const newer = h('button', { type: 'button', class: 'newer', hidden: true, onclick: () => search(null, true) }, t('studies.new'))
  const pages = h('nav', { class: 'pages', 'aria-label': t('pages') })

  const fields = filterFields(filters, changed, () => search(null, true))
  fill(
    root,
    h('div', { class: 'head' }, h('h1', null, t('nav.studies')), h('span', { class: 'fill' }), sorting, h('button', { type: 'button', class: 'quiet', onclick: () => chooseColumns(draw) }, t('columns')), total),
    fields.element,
    newer,
    chosen.bar,
    state,
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('studies.caption') }, table),
    pages,
  )

  /** Heads and rows of the columns that are wanted. */
  function draw() {
    columns = chosenColumns()
    chosen.begin()
    fill(heads, h('th', { scope: 'col', class: 'choice' }, chosen.all), columns.map(head))
    fill(body, rows.map((set) => row(set, columns, chosen.box(set))))
    markOrder()
  }

  /** The head of a column; where the server sorts, a button that does. */
  function head({ name, kind }) {
    const label = t(`field.${name}`)
    if (!SORTED.includes(name)) return h('th', { scope: 'col', class: kind }, label)
    const cell = h('th', { scope: 'col', class: kind, 'data-column': name }, h('button', { type: 'button', class: 'quiet sort', onclick: () => sort(name) }, label, h('span', { class: 'arrow', 'aria-hidden': 'true' })))
    return cell
  }

  /** First as people look for it, then the other way round, then as it arrived. */
  function sort(name) {
    const [begin, other] = name === 'StudyDate' ? [`-${name}`, name] : [name, `-${name}`]
    order = order === begin ? other : order === other ? '' : begin
    search(null, true)
  }

  function markOrder() {
    for (const cell of table.querySelectorAll('th[data-column]')) {
      const { column } = cell.dataset
      const way = order === column ? 'ascending' : order === `-${column}` ? 'descending' : null
      if (way) cell.setAttribute('aria-sort', way)
      else cell.removeAttribute('aria-sort')
    }
    sorting.value = order
  }

  function changed() {
    clearTimeout(timer)
    timer = setTimeout(() => search(null), PAUSE)
  }

  async function counted() {
    total.disabled = true
    try {
      const n = await count('studies', filters, leaving.signal)
      fill(total, t('studies.total', { n }))
      announce(t('studies.total', { n }))
    } catch (error) {
      failed(error)
    }
    total.disabled = false
  }

  async function search(next, now = false) {
    clearTimeout(timer)
    cursor = next
    running?.abort()
    running = new AbortController()
    const { signal } = running
    newer.hidden = true
    fill(total, t('studies.count'))
    if (!first || now) note(to('studies', [], { ...filters, order, cursor }))
    first = false
    table.setAttribute('aria-busy', 'true')
    try {
      const page = await studies(filters, order, cursor, signal)
      rows = page.rows
      draw()
      table.removeAttribute('aria-busy')
      table.hidden = page.rows.length === 0
      fill(state, page.rows.length ? '' : empty())
      fill(pages, pageLinks(page.next))
      announce(t('studies.shown', { n: page.rows.length }))
      performance.mark('stowage.rows')
    } catch (error) {
      if (error.name === 'AbortError') return
      table.removeAttribute('aria-busy')
      table.hidden = true
      fill(state, h('span', { class: 'error' }, error.message), ' ', h('button', { type: 'button', onclick: () => search(cursor) }, t('again')))
      fill(pages)
    }
  }

  function empty() {
    if (FILTERS.some((name) => filters[name])) return [t('studies.nomatch'), ' ', h('button', { type: 'button', onclick: fields.clear }, t('filters.clear'))]
    const may = me.get()?.actions.includes('write')
    return [t('studies.none'), ' ', may && h('a', { href: to('upload') }, t('studies.none.upload'))]
  }

  function pageLinks(next) {
    const link = (text, target, picture) => h('a', { class: 'button', href: to('studies', [], { ...filters, order, cursor: target }) }, picture === 'left' && icon('left'), text, picture === 'right' && icon('right'))
    return [
      cursor && link(t('pages.first'), null, 'left'),
      cursor && h('button', { type: 'button', onclick: () => history.back() }, t('pages.previous')),
      next && link(t('pages.next'), next, 'right'),
      h('span', { class: 'muted' }, order ? t(`studies.order.${order.startsWith('-') ? 'down' : 'up'}`, { column: t(`field.${order.replace('-', '')}`) }) : t('studies.order')),
    ]
  }

  search(cursor)
  const ends = [useKeys(t('nav.studies'), root, rowKeys(table)), watch(newer, leaving.signal)]
  const bodyKeys = useKeys(t('nav.studies'), document.body, [{ keys: ['/'], text: t('keys.filter'), run: () => fields.element.querySelector('input').focus() }])
  return () => {
    clearTimeout(timer)
    running?.abort()
    leaving.abort()
    bodyKeys()
    for (const end of ends) end()
  }
}

/** An order that the server has; else none. */
const orderOf = (text) => (SORTED.includes((text ?? '').replace(/^-/, '')) ? text : '')

/** Arrows go from row to row. */
function rowKeys(table) {
  const step = (by) => () => {
    const links = [...table.querySelectorAll('tbody th a')]
    const at = links.indexOf(document.activeElement)
    links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus()
  }
  return [
    { keys: ['ArrowDown', 'j'], text: t('keys.down'), run: step(1) },
    { keys: ['ArrowUp', 'k'], text: t('keys.up'), run: step(-1) },
  ]
}

/** One study; the whole row leads there. */
function row(set, columns, box) {
  const target = to('study', [text(set, '0020000D')])
  const [name, ...others] = columns
  return h(
    'tr',
    { onclick: (event) => event.target.closest('a, input, .choice') ?? (String(getSelection()) || go(target)) },
    h('td', { class: 'choice' }, box),
    h('th', { scope: 'row' }, h('a', { href: target }, name.cell(set))),
    others.map((column) => h('td', { class: column.kind }, column.cell(set))),
  )
}

/** Says when something came after the list was read. */
function watch(bar, signal) {
  let known = null
  const look = async () => {
    if (document.hidden) return
    const newest = await newestChange(signal).catch(() => known)
    if (known !== null && newest !== known) {
      if (bar.hidden) announce(t('studies.new'))
      bar.hidden = false
    }
    known = newest
  }
  const timer = setInterval(look, LOOK)
  const begin = setTimeout(look, 500)
  return () => {
    clearInterval(timer)
    clearTimeout(begin)
  }
}

function filterFields(filters, changed, now) {
  const input = (name, type = 'search') => {
    const field = h('input', {
      type,
      id: `filter-${name}`,
      value: filters[name],
      autocomplete: 'off',
      spellcheck: 'false',
      dir: 'auto',
      oninput: () => {
        filters[name] = field.value
        changed()
      },
    })
    return h('div', null, h('label', { for: `filter-${name}` }, t(`field.${name}`)), field)
  }
  const modality = h(
    'select',
    {
      id: 'filter-ModalitiesInStudy',
      onchange: () => {
        filters.ModalitiesInStudy = modality.value
        now()
      },
    },
    h('option', { value: '' }, t('any')),
    [...new Set([...MODALITIES, filters.ModalitiesInStudy].filter(Boolean))].map((name) => h('option', { value: name, selected: name === filters.ModalitiesInStudy }, name)),
  )
  const dates = dateField(filters, now)
  const clear = () => {
    for (const name of FILTERS) filters[name] = ''
    go(to('studies'))
  }
  const element = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      onsubmit: (event) => {
        event.preventDefault()
        now()
      },
    },
    input('PatientName'),
    input('PatientID'),
    dates,
    h('div', null, h('label', { for: 'filter-ModalitiesInStudy' }, t('field.ModalitiesInStudy')), modality),
    input('StudyDescription'),
    input('AccessionNumber'),
    h('button', { type: 'button', onclick: clear }, t('filters.clear')),
  )
  return { element, clear }
}

const DAYS = { today: 0, week: 6, month: 29 }

/** Days that people ask for most, or any first and last day. */
function dateField(filters, now) {
  const begin = (days) => {
    const day = new Date()
    day.setDate(day.getDate() - days)
    return `${dicomDate(day)}-`
  }
  const [from = '', till = ''] = filters.StudyDate.split('-')
  const known = Object.keys(DAYS).find((name) => begin(DAYS[name]) === filters.StudyDate)
  const chosen = !filters.StudyDate ? '' : (known ?? 'range')
  const dashed = (text) => text.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3')
  const plain = (text) => text.replaceAll('-', '')
  const first = h('input', { type: 'date', id: 'filter-from', value: dashed(from), 'aria-label': t('date.from'), onchange: ranged })
  const last = h('input', { type: 'date', id: 'filter-till', value: dashed(filters.StudyDate.includes('-') ? till : from), 'aria-label': t('date.till'), onchange: ranged })
  const range = h('span', { class: 'range', hidden: chosen !== 'range' }, first, last)
  const select = h(
    'select',
    {
      id: 'filter-StudyDate',
      onchange: () => {
        range.hidden = select.value !== 'range'
        if (select.value === 'range') return first.focus()
        filters.StudyDate = select.value ? begin(DAYS[select.value]) : ''
        now()
      },
    },
    ['', ...Object.keys(DAYS), 'range'].map((name) => h('option', { value: name, selected: name === chosen }, name ? t(`date.${name}`) : t('any'))),
  )
  function ranged() {
    const [a, b] = [plain(first.value), plain(last.value)]
    filters.StudyDate = a || b ? `${a}-${b}` : ''
    now()
  }
  return h('div', null, h('label', { for: 'filter-StudyDate' }, t('field.StudyDate')), select, range)
}
