/** Every attribute of one instance: by name or number, with its value, to search and to copy. */

import { fill, h, icon, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { bytes } from '../lib/format.js'
import { announce, copy, failed } from '../lib/dialog.js'
import { go, to } from '../lib/router.js'
import { name, number, shownTag, spaced, text } from '../dicom/json.js'
import { metadata, path } from '../net/qido.js'
import { askJson } from '../net/api.js'
import { download } from '../net/download.js'

/** Attributes whose names are asked for at a time. */
const ASKED = 200
/** Longest text that is shown at once. */
const LONG = 1_000
const keywords = new Map()

/** Shows the screen. */
export function show(root, { rest: [study, series, instance], query }) {
  const other = query.get('with')
  const leaving = new AbortController()
  const { signal } = leaving
  const body = h('tbody')
  const search = h('input', { type: 'search', id: 'tag-search', autocomplete: 'off', spellcheck: 'false', oninput: narrow })
  const found = h('p', { class: 'muted', role: 'status' })
  const choice = h('select', { id: 'tag-instance', onchange: () => go(to('tags', [study, series, choice.value], { with: other })) })
  const second = h('select', { id: 'tag-other', onchange: () => go(to('tags', [study, series, instance], { with: second.value })) })
  const alike = h('input', { type: 'checkbox', id: 'tag-alike', onchange: narrow })
  const heads = h('tr')
  fill(
    root,
    h('div', { class: 'head' }, h('a', { class: 'button', href: to('study', [study]) }, icon('left'), t('study')), h('h1', null, t('tags'))),
    h('form', { class: 'filters', role: 'search', onsubmit: (event) => event.preventDefault() }, h('div', null, h('label', { for: 'tag-search' }, t('tags.search')), search), h('div', null, h('label', { for: 'tag-instance' }, t('instance')), choice), h('div', null, h('label', { for: 'tag-other' }, t('tags.beside')), second), other && h('label', { class: 'check', for: 'tag-alike' }, alike, t('tags.alike')), found),
    h(
      'div',
      { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('tags') },
      h('table', { class: 'tags' }, h('thead', null, heads), body),
    ),
  )
  let rows = []

  async function load() {
    const sets = await metadata(path(study, series), signal)
    sets.sort((a, b) => (number(a, '00200013') ?? 0) - (number(b, '00200013') ?? 0))
    const set = sets.find((one) => text(one, '00080018') === instance) ?? sets[0]
    const beside = other && sets.find((one) => text(one, '00080018') === other)
    const label = (one) => t('instance.number', { number: text(one, '00200013') || '–' })
    const option = (one, selected) => h('option', { value: text(one, '00080018'), selected }, label(one))
    fill(choice, sets.map((one) => option(one, one === set)))
    fill(second, h('option', { value: '' }, t('tags.nothing')), sets.filter((one) => one !== set).map((one) => option(one, one === beside)))
    const heading = beside ? ['tags.number', 'tags.name', 'tags.vr'].map((key) => t(key)).concat(label(set), label(beside)) : ['tags.number', 'tags.name', 'tags.vr', 'tags.value'].map((key) => t(key))
    fill(heads, heading.map((words) => h('th', { scope: 'col' }, words)))
    const listed = beside ? paired(flat(set, 0), flat(beside, 0)) : flat(set, 0)
    await learn(listed.map((row) => row.tag).filter(Boolean), signal)
    for (const row of listed) row.element = shown(row)
    // Only now: somebody may have typed meanwhile, and what is searched is made with the names.
    rows = listed
    fill(body, rows.map((row) => row.element))
    narrow()
  }

  function narrow() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean)
    let count = 0
    for (const row of rows) {
      const matches = (!alike.checked || row.differs) && words.every((word) => row.searched.includes(word))
      row.element.hidden = !matches
      if (matches) count += 1
    }
    fill(found, t('tags.found', { n: count }))
    if (words.length) announce(t('tags.found', { n: count }))
  }

  load().catch((error) => error.name !== 'AbortError' && failed(error))
  return () => leaving.abort()
}

/** Rows of two instances side by side, by where they stand; what one of them lacks is empty there. */
function paired(one, other) {
  const left = new Map(one.map((row) => [row.place, row]))
  const right = new Map(other.map((row) => [row.place, row]))
  const places = [...new Set([...left.keys(), ...right.keys()])].sort()
  return places.map((place) => {
    const [a, b] = [left.get(place), right.get(place)]
    const row = a ?? { ...b, value: '', link: null }
    const said = (side) => (side ? (side.link ? t('tags.bulk') : side.value) : '')
    return { ...row, beside: said(b), differs: !a || !b || a.value !== b.value || a.vr !== b.vr }
  })
}

/** The attributes one below the other, those of items behind their sequence. */
function flat(set, depth, above = '') {
  const rows = []
  for (const tag of Object.keys(set ?? {}).sort()) {
    const element = set[tag]
    const items = element.vr === 'SQ' ? (element.Value ?? []) : []
    const place = `${above}${tag}`
    rows.push({ place, tag, depth, vr: element.vr, value: valueText(element, items), link: element.BulkDataURI, size: element.InlineBinary?.length })
    for (const [index, item] of items.entries()) {
      const inside = `${place}.${String(index).padStart(5, '0')}`
      rows.push({ place: inside, tag: '', depth: depth + 1, vr: '', value: t('tags.item', { number: index + 1 }) })
      rows.push(...flat(item, depth + 2, `${inside}.`))
    }
  }
  return rows
}

function valueText(element, items) {
  if (element.vr === 'SQ') return t('tags.items', { n: items.length })
  if (element.InlineBinary) return bytes(Math.floor((element.InlineBinary.length * 3) / 4))
  const one = (value) => (value === null || value === undefined ? '' : typeof value === 'object' ? name(value) : String(value))
  return (element.Value ?? []).map(one).join(' \\ ')
}

/** Asks for the names that are not known yet. */
async function learn(tags, signal) {
  const unknown = [...new Set(tags)].filter((tag) => !keywords.has(tag) && Number.parseInt(tag.slice(0, 4), 16) % 2 === 0)
  for (let at = 0; at < unknown.length; at += ASKED) {
    const asked = unknown.slice(at, at + ASKED)
    const names = await askJson(`ui/dictionary?tags=${asked.join(',')}`, { signal })
    for (const tag of asked) keywords.set(tag, names[tag] ?? '')
  }
}

function shown(row) {
  const keyword = keywords.get(row.tag) ?? ''
  const isPrivate = row.tag && Number.parseInt(row.tag.slice(0, 4), 16) % 2 === 1
  const label = keyword ? spaced(keyword) : isPrivate ? t('tags.private') : ''
  row.searched = `${row.tag} ${row.tag ? shownTag(row.tag) : ''} ${keyword} ${label} ${row.value} ${row.beside ?? ''}`.toLowerCase()
  const value = row.link
    ? h('button', { type: 'button', class: 'quiet', onclick: () => bulk(row.link, `${row.tag}.bin`) }, icon('download'), t('tags.bulk'))
    : [told(row.value, LONG), row.tag && row.value && row.vr !== 'SQ' && h('button', { type: 'button', class: 'quiet small', 'aria-label': t('copy.what', { what: label || row.tag }), onclick: () => copy(row.value) }, icon('copy'))]
  const cell = h('th', { scope: 'row' }, row.tag ? shownTag(row.tag) : '')
  cell.style.paddingInlineStart = `${0.5 + row.depth}rem`
  return h('tr', { class: [!row.tag && 'item', row.differs && 'differs'].filter(Boolean).join(' ') || null }, cell, h('td', null, label), h('td', null, row.vr), h('td', { class: 'value' }, value), row.beside !== undefined && h('td', { class: 'value' }, told(row.beside, LONG)))
}

/** The link names the server as programs see it; its path below the root is what counts here. */
async function bulk(link, name) {
  try {
    const at = link.indexOf('/studies/')
    if (at >= 0) await download(link.slice(at + 1), 'application/octet-stream', name)
  } catch (error) {
    failed(error)
  }
}

