/** What can be done with several studies at once: all of them as ZIP files, or deleted after it was said what goes. */

import { cut, fill, h, icon, told } from '../lib/h.js'
import { t } from '../lib/i18n.js'
import { date } from '../lib/format.js'
import { announce, dialog, failed } from '../lib/dialog.js'
import { text } from '../dicom/json.js'
import { me } from '../net/api.js'
import { download } from '../net/download.js'
import { path, remove } from '../net/qido.js'
import { afterwards, deleted } from './undo.js'

/** Studies that are named before they are deleted. */
const NAMED = 20

const uid = (set) => text(set, '0020000D')
const images = (set) => Number(text(set, '00201208')) || 0

/**
 * @param {() => void} changed called when studies are gone
 * @returns {{ bar: HTMLElement, box: (set: object) => HTMLElement, all: HTMLInputElement, clear: () => void }}
 */
export function selection(changed) {
  /** @type {Map<string, object>} */
  const chosen = new Map()
  let boxes = []
  const bar = h('div', { class: 'selection actions', role: 'region', 'aria-label': t('selection'), hidden: true })
  const all = h('input', { type: 'checkbox', 'aria-label': t('selection.all'), onchange: () => (all.checked ? boxes.forEach(([input, set]) => mark(input, set, true)) : clear(false), draw()) })

  function mark(input, set, on) {
    input.checked = on
    if (on) chosen.set(uid(set), set)
    else chosen.delete(uid(set))
  }

  function draw() {
    const n = chosen.size
    all.checked = boxes.length > 0 && n === boxes.length
    all.indeterminate = n > 0 && n < boxes.length
    const was = bar.hidden
    bar.hidden = n === 0
    if (!n) return
    if (was || bar.dataset.n !== String(n)) announce(t('selection.count', { n }))
    bar.dataset.n = String(n)
    const may = me.get()?.actions.includes('delete')
    fill(
      bar,
      h('strong', null, t('selection.count', { n })),
      h('button', { type: 'button', onclick: (event) => zips(event.currentTarget) }, icon('download'), t('zip')),
      may && h('button', { type: 'button', class: 'danger', onclick: erase }, icon('trash'), t('delete')),
      h('button', { type: 'button', class: 'quiet', onclick: () => clear() }, t('selection.clear')),
    )
  }

  function clear(drawn = true) {
    chosen.clear()
    for (const [input] of boxes) input.checked = false
    if (drawn) draw()
  }

  async function zips(button) {
    button.disabled = true
    try {
      for (const study of [...chosen.keys()]) await download(path(study), 'application/zip', `${study}.zip`)
    } catch (error) {
      failed(error)
    }
    button.disabled = false
  }

  async function erase() {
    const sets = [...chosen.values()]
    const total = sets.reduce((sum, set) => sum + images(set), 0)
    const line = (set) => h('li', null, told(text(set, '00100010') || t('unnamed')), ', ', date(text(set, '00080020')), ', ', told(text(set, '00081030')), ' ', h('span', { class: 'muted' }, t('images', { n: images(set) })))
    const field = h('input', { id: 'confirm', autocomplete: 'off', inputmode: 'numeric', required: true })
    const sure = await dialog(t('selection.delete', { n: sets.length }), (close) =>
      h(
        'form',
        {
          onsubmit: (event) => {
            event.preventDefault()
            if (field.value.trim() === String(total)) close(true)
            else field.setCustomValidity(t('delete.wrong', { n: total }))
            field.reportValidity()
          },
          oninput: () => field.setCustomValidity(''),
        },
        h('p', null, t('selection.what', { n: total, studies: sets.length })),
        h('ul', { class: 'plain going' }, sets.slice(0, NAMED).map(line), sets.length > NAMED && h('li', null, t('upload.more', { n: sets.length - NAMED }))),
        h('p', null, afterwards()),
        h('label', { for: 'confirm' }, t('delete.confirm', { count: String(total) })),
        field,
        h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'danger' }, t('delete')), h('button', { type: 'button', onclick: () => close(false) }, t('cancel'))),
      ),
    )
    if (!sure) return
    let gone = 0
    const studies = []
    try {
      for (const set of sets) {
        await remove(path(uid(set)))
        studies.push(uid(set))
        gone += images(set)
      }
    } catch (error) {
      failed(error)
    }
    if (studies.length) deleted(gone, studies, changed)
    changed()
  }

  return {
    bar,
    all,
    clear,
    /** Forgets the rows of before. */
    begin: () => {
      boxes = []
      clear()
    },
    box(set) {
      const input = h('input', { type: 'checkbox', 'aria-label': t('selection.this', { name: cut(text(set, '00100010')) || t('unnamed') }), onchange: () => (mark(input, set, input.checked), draw()) })
      boxes.push([input, set])
      return input
    },
  }
}
