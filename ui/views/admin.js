/** How the server is, what it holds and does, query tags, damage, the trash, what changed last. */

import { fill, h, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { bytes, duration } from '../lib/format.js'
import { dialog, failed, message } from '../lib/dialog.js'
import { to } from '../lib/router.js'
import { spaced } from '../dicom/json.js'
import { ask, askJson, me } from '../net/api.js'
import { count } from '../net/qido.js'
import { rates, showDamage, showOperations } from './oversee.js'
import { showTrash } from './trash.js'
import { mayRestore } from './undo.js'

/** Milliseconds between two looks. */
const LOOK = 10_000
/** Milliseconds to the second look, for a first rate. */
const SOON = 2_000
/** Changes of a page. */
const CHANGES = 25

/** Shows the screen. */
export function show(root) {
  const leaving = new AbortController()
  const { signal } = leaving
  const health = h('dl', { class: 'facts' })
  const counts = h('dl', { class: 'facts' })
  const tags = h('div')
  const feed = h('div')
  const speed = h('dl', { class: 'facts' })
  const operations = h('div')
  const damage = h('div')
  const trash = h('div')
  const rate = rates()
  const part = (title, ...children) => h('section', null, h('h2', { tabindex: '-1' }, title), ...children)
  fill(
    root,
    h('div', { class: 'head' }, h('h1', null, t('nav.admin'))),
    part(t('admin.health'), health),
    part(t('admin.rates'), speed),
    part(t('admin.counts'), counts),
    part(t('admin.operations'), operations),
    part(t('admin.damage'), damage),
    mayRestore() && part(t('admin.trash'), trash),
    part(t('admin.tags'), tags),
    part(t('admin.feed'), feed),
  )

  const row = (label, value) => h('div', null, h('dt', null, label), h('dd', null, value))
  async function look() {
    if (document.hidden) return
    try {
      const status = await askJson('ui/status', { signal, quiet: true })
      fill(speed, rate(status.totals))
      fill(health, [
        row(t('admin.stores'), status.stores.well ? t('admin.well') : h('span', { class: 'error' }, status.stores.problem)),
        row(t('admin.audit'), status.audit.on ? (status.audit.failing ? h('span', { class: 'error' }, t('admin.failing')) : t('admin.well')) : t('admin.off')),
        row(t('admin.version'), status.version),
        row(t('admin.up'), duration(status.seconds)),
        row(t('admin.memory'), bytes(status.memoryBytes)),
        row(t('admin.refused'), status.refusedForMemory.toLocaleString()),
        row(t('admin.instance'), bytes(status.limits.instanceBytes)),
        row(t('admin.request'), bytes(status.limits.requestBytes)),
      ])
    } catch (error) {
      if (error.name !== 'AbortError') fill(health, h('div', { class: 'error', role: 'alert' }, error.message))
    }
  }

  async function counted() {
    fill(counts)
    for (const level of ['studies', 'series', 'instances']) {
      const place = h('dd', null, '…')
      counts.append(h('div', null, h('dt', null, t(`admin.${level}`)), place))
      count(level, {}, signal)
        .then((n) => fill(place, n.toLocaleString()))
        .catch((error) => error.name !== 'AbortError' && fill(place, h('span', { class: 'error' }, error.message)))
    }
  }

  function goOn() {
    look()
    showOperations(operations, signal)
    if (!(Number(damage.dataset.after) > 0)) showDamage(damage, signal)
  }

  goOn()
  counted()
  if (mayRestore()) showTrash(trash, signal, () => (counted(), showFeed(feed, signal)))
  showTags(tags, signal)
  showFeed(feed, signal)
  const soon = setTimeout(look, SOON)
  const timer = setInterval(goOn, LOOK)
  return () => {
    clearTimeout(soon)
    clearInterval(timer)
    leaving.abort()
  }
}

async function showTags(place, signal) {
  const may = me.get()?.actions.includes('manageExtendedQueryTags')
  const again = () => showTags(place, signal)
  const act = async (run, said) => {
    try {
      await run()
      if (said) message(said)
    } catch (error) {
      failed(error)
    }
    await again()
  }
  try {
    const rows = (await askJson('v2/extendedquerytags', { signal })) ?? []
    const line = (row) => {
      const path = `v2/extendedquerytags/${encodeURIComponent(row.path)}`
      const enabled = /^enabled$/i.test(row.queryStatus)
      const body = JSON.stringify({ queryStatus: enabled ? 'Disabled' : 'Enabled' })
      const change = () => act(() => ask(path, { method: 'PATCH', body, headers: { 'Content-Type': 'application/json' } }))
      return h(
        'tr',
        null,
        h('th', { scope: 'row' }, row.path),
        h('td', null, row.vr),
        h('td', null, row.level),
        h('td', null, row.status),
        h('td', null, enabled ? t('yes') : t('no')),
        h('td', { class: 'number' }, String(row.errors?.count ?? 0)),
        may && h('td', { class: 'actions' }, h('button', { type: 'button', onclick: change }, enabled ? t('tag.disable') : t('tag.enable')), h('button', { type: 'button', class: 'danger', onclick: () => erase(row, path) }, t('delete'))),
      )
    }
    const erase = async (row, path) => {
      const sure = await dialog(t('tag.delete'), (close) => h('div', null, h('p', null, t('tag.delete.what', { tag: row.path })), h('div', { class: 'actions' }, h('button', { type: 'button', class: 'danger', onclick: () => close(true) }, t('delete')), h('button', { type: 'button', onclick: () => close(false) }, t('cancel')))))
      if (sure) await act(() => ask(path, { method: 'DELETE' }))
    }
    const heads = ['tag.path', 'tag.vr', 'tag.level', 'tag.status', 'tag.searched', 'tag.errors']
    fill(
      place,
      rows.length
        ? h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('admin.tags') }, h('table', null, h('thead', null, h('tr', null, heads.map((key) => h('th', { scope: 'col' }, t(key))), may && h('th', { scope: 'col' }, t('tag.actions')))), h('tbody', null, rows.map(line))))
        : h('p', { class: 'muted' }, t('tag.none')),
      may && addForm(act),
    )
  } catch (error) {
    if (error.name !== 'AbortError') fill(place, h('p', { class: 'error', role: 'alert' }, error.message))
  }
}

function addForm(act) {
  const path = h('input', { id: 'tag-path', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: 'BodyPartExamined' })
  const level = h('select', { id: 'tag-level' }, ['Instance', 'Series', 'Study'].map((name) => h('option', { value: name }, t(`level.${name}`))))
  const add = (event) => {
    event.preventDefault()
    const body = JSON.stringify([{ path: path.value.trim(), level: level.value }])
    act(() => ask('v2/extendedquerytags', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } }), t('tag.added'))
  }
  return h('form', { class: 'filters', onsubmit: add }, h('div', null, h('label', { for: 'tag-path' }, t('tag.path')), path), h('div', null, h('label', { for: 'tag-level' }, t('tag.level')), level), h('button', { type: 'submit' }, t('tag.add')))
}

/** The newest changes, then older ones page by page. */
async function showFeed(place, signal, before = null) {
  try {
    let top = before
    if (top === null) {
      const latest = await askJson('v1/changefeed/latest?includeMetadata=false', { signal })
      top = latest?.sequence ?? 0
    }
    const offset = Math.max(0, top - CHANGES)
    const rows = top > 0 ? await askJson(`v1/changefeed?offset=${offset}&limit=${top - offset}&includeMetadata=false`, { signal }) : []
    rows.sort((a, b) => b.sequence - a.sequence)
    const line = (row) =>
      h(
        'tr',
        null,
        h('td', { class: 'number' }, String(row.sequence)),
        h('td', null, new Date(row.timestamp).toLocaleString()),
        h('td', null, spaced(row.action)),
        h('td', null, row.state),
        h('td', null, /^deleted$/i.test(row.state) ? row.studyInstanceUid : h('a', { href: to('study', [row.studyInstanceUid], { partition: row.partitionName }) }, told(row.studyInstanceUid))),
      )
    const heads = ['feed.number', 'feed.time', 'feed.action', 'feed.state', 'feed.study']
    fill(
      place,
      rows.length
        ? h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('admin.feed') }, h('table', null, h('thead', null, h('tr', null, heads.map((key) => h('th', { scope: 'col' }, t(key))))), h('tbody', null, rows.map(line))))
        : h('p', { class: 'muted' }, t('feed.none')),
      h('div', { class: 'actions' }, before !== null && h('button', { type: 'button', onclick: () => showFeed(place, signal) }, t('feed.newest')), offset > 0 && h('button', { type: 'button', onclick: () => showFeed(place, signal, offset) }, t('feed.older'))),
    )
  } catch (error) {
    if (error.name !== 'AbortError') fill(place, h('p', { class: 'error', role: 'alert' }, error.message))
  }
}
