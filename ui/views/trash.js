/** The trash: what was deleted, until when it can come back, and bringing it back. */

import { cut, fill, h, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { bytes, date } from '../lib/format.js'
import { failed } from '../lib/dialog.js'
import { text } from '../dicom/json.js'
import { restore, trash } from '../net/trash.js'
import { tellRestored } from './undo.js'

const HEADS = ['field.PatientName', 'field.StudyDate', 'trash.what', 'trash.reason', 'trash.since', 'trash.until', 'admin.instances', 'trash.size', 'tag.actions']

/** Shows a page of it; `changed` is called when something came back. */
export async function showTrash(place, signal, changed, before = null) {
  const again = () => showTrash(place, signal, changed, before)
  const back = async (entry, button) => {
    button.disabled = true
    try {
      tellRestored(await restore(entry.id))
      changed()
    } catch (error) {
      failed(error)
    }
    await again()
  }
  const line = (entry) => {
    const set = entry.attributes ?? {}
    const name = text(set, '00100010') || t('unnamed')
    const level = entry.sopInstanceUid ? 'Instance' : entry.seriesInstanceUid ? 'Series' : 'Study'
    return h(
      'tr',
      null,
      h('th', { scope: 'row' }, told(name)),
      h('td', null, date(text(set, '00080020'))),
      h('td', null, t(`level.${level}`), ' ', h('span', { class: 'muted' }, entry.modalities.join(' '))),
      h('td', null, t(`trash.${entry.reason}`)),
      h('td', null, new Date(entry.deleted).toLocaleString()),
      h('td', null, new Date(entry.until).toLocaleString()),
      h('td', { class: 'number' }, entry.instances.toLocaleString()),
      h('td', { class: 'number' }, bytes(entry.bytes)),
      h('td', { class: 'actions' }, h('button', { type: 'button', 'aria-label': `${t('trash.restore')}: ${cut(name, 60)}`, onclick: (event) => back(entry, event.currentTarget) }, t('trash.restore'))),
    )
  }
  try {
    const { entries, next } = await trash(before, signal)
    const focused = place.contains(document.activeElement)
    fill(
      place,
      entries.length
        ? h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('admin.trash') }, h('table', { class: 'trash' }, h('thead', null, h('tr', null, HEADS.map((key) => h('th', { scope: 'col' }, t(key))))), h('tbody', null, entries.map(line))))
        : h('p', { class: 'muted' }, t('trash.none')),
      h('div', { class: 'actions' }, before && h('button', { type: 'button', onclick: () => showTrash(place, signal, changed) }, t('trash.first')), next && h('button', { type: 'button', onclick: () => showTrash(place, signal, changed, next) }, t('trash.next'))),
    )
    // What was pressed is gone: whoever goes by keys goes on from here.
    if (focused) (place.querySelector('.scroll, button') ?? place.closest('section')?.querySelector('h2'))?.focus()
  } catch (error) {
    if (error.name !== 'AbortError') fill(place, h('p', { class: 'error', role: 'alert' }, error.message))
  }
}
