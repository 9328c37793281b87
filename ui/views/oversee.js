/** What goes on in the server: rates, operations with their progress, damage. */

import { fill, h, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { bytes } from '../lib/format.js'
import { to } from '../lib/router.js'
import { askJson } from '../net/api.js'

/** Puts a part that has changed into its place; what is the same stays, and with it the focus. */
function renew(place, seen, make) {
  const now = JSON.stringify(seen)
  if (place.dataset.seen === now) return
  place.dataset.seen = now
  fill(place, make())
}

/** Rates between two looks at the totals of the server. */
export function rates() {
  let last = null
  const row = (label, value) => h('div', null, h('dt', null, label), h('dd', null, value))
  return (totals) => {
    // A server that began anew counts from zero.
    const before = last && totals.milliseconds > last.milliseconds && totals.requests >= last.requests ? last : null
    last = totals
    const rate = (name, show) => {
      if (!before) return '…'
      return t('rate.second', { n: show((1000 * (totals[name] - before[name])) / (totals.milliseconds - before.milliseconds)) })
    }
    const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 })
    return [
      row(t('rate.stored'), rate('stored', number)),
      row(t('rate.reads'), rate('reads', number)),
      row(t('rate.received'), rate('receivedBytes', bytes)),
      row(t('rate.sent'), rate('sentBytes', bytes)),
    ]
  }
}

/** The operations that began last. */
export async function showOperations(place, signal) {
  try {
    const rows = await askJson('ui/operations', { signal, quiet: true })
    const line = (row) => {
      const kind = t(`operation.${row.kind}`)
      const runs = ['notStarted', 'running'].includes(row.status)
      return h(
        'tr',
        null,
        h('th', { scope: 'row' }, kind),
        h('td', null, t(`status.${row.status}`)),
        h('td', null, runs ? [h('progress', { max: '100', value: String(row.percent), 'aria-label': kind }), ' ', `${row.percent} %`] : ''),
        h('td', null, new Date(row.created).toLocaleString()),
        h('td', null, new Date(row.updated).toLocaleString()),
      )
    }
    const heads = ['operation', 'tag.status', 'operation.progress', 'operation.begun', 'operation.changed']
    renew(place, rows, () =>
      rows.length
        ? h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('admin.operations') }, h('table', { class: 'operations' }, h('thead', null, h('tr', null, heads.map((key) => h('th', { scope: 'col' }, t(key))))), h('tbody', null, rows.map(line))))
        : h('p', { class: 'muted' }, t('operation.none')),
    )
  } catch (error) {
    if (error.name !== 'AbortError') renew(place, error.message, () => h('p', { class: 'error', role: 'alert' }, error.message))
  }
}

/** Instances whose bytes are not what was stored, and what to do. */
export async function showDamage(place, signal, after = 0) {
  try {
    place.dataset.after = String(after)
    const { instances, next } = await askJson(`ui/damage?after=${after}`, { signal, quiet: true })
    const line = (row) => {
      const place = [row.studyInstanceUid, row.seriesInstanceUid, row.sopInstanceUid]
      return h('tr', null, h('th', { scope: 'row' }, h('a', { href: to('study', [row.studyInstanceUid]) }, told(row.studyInstanceUid))), h('td', null, told(place.slice(1).join(' / '))), h('td', null, t(`damage.${row.problem}`)), h('td', null, new Date(row.found).toLocaleString()))
    }
    const heads = ['feed.study', 'damage.where', 'damage.what', 'damage.since']
    renew(place, [after, instances], () =>
      instances.length
        ? [
            h('p', { class: 'error', role: 'alert' }, t('damage.todo')),
            h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('admin.damage') }, h('table', { class: 'damage' }, h('thead', null, h('tr', null, heads.map((key) => h('th', { scope: 'col' }, t(key))))), h('tbody', null, instances.map(line)))),
            h('div', { class: 'actions' }, after > 0 && h('button', { type: 'button', onclick: () => showDamage(place, signal) }, t('damage.first')), next && h('button', { type: 'button', onclick: () => showDamage(place, signal, next) }, t('damage.next'))),
          ]
        : h('p', { class: 'muted' }, t('damage.none')),
    )
  } catch (error) {
    if (error.name !== 'AbortError') renew(place, error.message, () => h('p', { class: 'error', role: 'alert' }, error.message))
  }
}
